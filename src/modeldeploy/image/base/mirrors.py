"""Where Debian's archives are, as this machine's apt or ``$MDEPLOY_DEBIAN_MIRROR`` has it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from modeldeploy import shell
from modeldeploy.errors import BundleError
from modeldeploy.image.base.lockfile import FILENAME

VARIABLE = "MDEPLOY_DEBIAN_MIRROR"
"""URL of the archive, and after a blank that of the security archive (default: the same + ``-security``)."""
KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)
OTHERWISE = 'or take a base that is made already: [image] base = "host/repository@sha256:..." or "oci:FOLDER"'
_FORMAT = "$(REPO_URI) $(RELEASE) $(COMPONENT)"


@dataclass(frozen=True, slots=True)
class Mirrors:
    """URLs of the two archives, with a slash at the end, and the keyring that vouches for them."""

    debian: tuple[str, ...]
    security: tuple[str, ...]
    keyring: Path

    def of(self, archive: str) -> tuple[str, ...]:
        """The URLs of ``debian`` or ``security``."""
        return self.security if archive == "security" else self.debian

    def sources(self, suite: str, architecture: str) -> str:
        """The lines of a sources.list for one suite."""
        options = f"[signed-by={self.keyring} arch={architecture}]"
        pockets = [(url, pocket) for url in self.debian[:1] for pocket in (suite, f"{suite}-updates")]
        pockets += [(url, f"{suite}-security") for url in self.security[:1]]
        return "".join(f"deb {options} {url} {pocket} main\n" for url, pocket in pockets)


def find() -> Mirrors:
    """The mirrors of this machine. Raises `BundleError`, with what to do, where it has none."""
    for tool in ("apt-get", "apt-cache"):
        if not shutil.which(tool):
            raise BundleError(
                f"a base of Debian packages needs {tool}, which this machine does not have",
                hint=f"build the image on Debian or Ubuntu (in CI, say: {FILENAME} makes it the same there), "
                + OTHERWISE,
            )
    keyring = next((Path(path) for path in KEYRINGS if Path(path).is_file()), None)
    if not keyring:
        raise BundleError(
            "the keys of Debian's archive are not on this machine, and nothing is taken from it unverified",
            hint="sudo apt-get install debian-archive-keyring",
        )
    debian, security = _given() or _of_this_machine()
    return Mirrors(debian, security, keyring)


def _given() -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    words = os.environ.get(VARIABLE, "").split()
    if not words:
        return None
    bad = [word for word in words if not word.startswith(("http://", "https://", "file:/"))]
    if bad or len(words) > 2:
        raise BundleError(
            f"${VARIABLE} is not one or two URLs",
            hint=f'export {VARIABLE}="https://mirror.example/debian https://mirror.example/debian-security"',
        )
    urls = [f"{word.rstrip('/')}/" for word in words]
    return (urls[0],), (urls[1] if urls[1:] else f"{urls[0][:-1]}-security/",)


def _of_this_machine() -> tuple[tuple[str, ...], tuple[str, ...]]:
    command = ["apt-get", "indextargets", "--format", _FORMAT, "Identifier: Packages"]
    lines = [line.split(" ") for line in shell.run(command, timeout=60).output.splitlines()]
    main = [(url, release) for url, release, component in lines if component == "main"]
    updates = {release.removesuffix("-updates") for _, release in main if release.endswith("-updates")}
    security = {release.removesuffix("-security") for _, release in main if release.endswith("-security")}
    debian_urls = [url for url, release in main if release in updates | security]
    security_urls = [url for url, release in main if release.endswith("-security")]
    if not debian_urls or not security_urls or not _is_debian():
        raise BundleError(
            "this machine's apt names no mirror of Debian with its security updates",
            hint=f'export {VARIABLE}="https://mirror.example/debian https://mirror.example/debian-security", '
            + OTHERWISE,
        )
    return tuple(dict.fromkeys(debian_urls)), tuple(dict.fromkeys(security_urls))


def _is_debian() -> bool:
    """Not Ubuntu, say, whose mirrors hold other packages of the same names."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return False
    return "ID=debian" in lines
