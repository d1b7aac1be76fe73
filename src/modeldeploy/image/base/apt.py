"""apt-get in a folder of its own: it resolves and downloads packages, and installs nothing anywhere.

The host's packages, settings and lists play no part, except how to reach the network. Indexes are verified
by the keys of Debian's archive, packages by the hashes in the lock.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote

from modeldeploy import files, shell
from modeldeploy.errors import BundleError, ModelDeployError
from modeldeploy.image.base.lockfile import Package
from modeldeploy.image.base.mirrors import Mirrors

SECONDS = 1800.0
"""Longest that one run of apt may take, over a slow line."""
HELPER = "/usr/lib/apt/apt-helper"
_ACQUIRE = re.compile(
    r"^Acquire::(http|https|ftp|socks|Retries|ForceIPv[46]|Check-Valid-Until|Check-Date|Queue-Mode)\b",
    re.IGNORECASE,
)
"""How the host reaches the network; never whether signatures count."""
_URI = re.compile(r"^'([^']+)' (\S+)_(\S+)_([a-z0-9-]+)\.deb \d+\b")
_GONE = re.compile(r"404|Not Found|does not exist|No such file", re.IGNORECASE)


class Apt:
    """One suite and architecture, seen by an apt-get that has nothing installed but ``pretended``."""

    def __init__(
        self, folder: Path, mirrors: Mirrors, *, suite: str, architecture: str, pretended: str = ""
    ) -> None:
        self._mirrors = mirrors
        self._suite = suite
        for name in ("lists/partial", "archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").write_text(pretended)
        (folder / "sources.list").write_text(mirrors.sources(suite, architecture))
        (folder / "apt.conf").write_text(_settings(folder, architecture))
        self._env = {"APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C", "LANG": "C"}

    def update(self) -> None:
        """Fetch the indexes. Raises `BundleError` where that fails or a signature is not right."""
        self._run(["apt-get", "-q", "--error-on=any", "update"], f"reading Debian's index of {self._suite}")

    def closure(self, names: Sequence[str]) -> tuple[Package, ...]:
        """These packages and all that they depend on, sorted. Raises `BundleError` for unknown ones."""
        doing = f"resolving {', '.join(names)} in Debian {self._suite}"
        command = ["apt-get", "-qq", "--print-uris", "install", "--", *names]
        places = {}
        for line in self._run(command, doing).splitlines():
            if found := _URI.match(line):
                uri, name, version, _ = found.groups()
                places[name, unquote(version)] = unquote(uri)
        wanted = [f"{name}={version}" for name, version in sorted(places)]
        told = self._run(["apt-cache", "show", "--", *wanted], doing)
        records = {(record["Package"], record["Version"]): record for record in _records(told)}
        return tuple(self._package(records[key], uri) for key, uri in sorted(places.items()))

    def _package(self, record: dict[str, str], uri: str) -> Package:
        archive = next(name for name in ("security", "debian") if uri.startswith(self._mirrors.of(name)))
        return Package(
            name=record["Package"],
            version=record["Version"],
            architecture=record["Architecture"],
            source=record.get("Source", record["Package"]).split(" ")[0],
            archive=archive,
            filename=record["Filename"],
            size=int(record["Size"]),
            sha256=record["SHA256"],
        )

    def _run(self, command: Sequence[str], doing: str) -> str:
        try:
            return shell.run(command, env=self._env, timeout=SECONDS).output
        except shell.ToolFailed as error:
            raise _explained(doing, error) from None


def download(packages: Iterable[Package], into: Path, mirrors: Mirrors, scratch: Path) -> None:
    """Fetch packages as ``into/SHA256.deb`` unless they are there. No index is read for it.

    Raises `BundleError` for what cannot be had any more, or is not what its hash says.
    """
    files.private(into)
    missing = [package for package in packages if not (into / f"{package.sha256}.deb").is_file()]
    if not missing:
        return
    (scratch / "apt.conf").write_text(_settings(scratch, "amd64"))
    env = {"APT_CONFIG": str(scratch / "apt.conf"), "LC_ALL": "C", "LANG": "C"}
    command: list[str] = [HELPER, "-q", "download-file"]
    for package in missing:
        url = mirrors.of(package.archive)[0] + package.filename.replace("+", "%2b").replace("~", "%7e")
        command += [url, str(scratch / f"{package.sha256}.deb"), f"SHA256:{package.sha256}"]
    try:
        shell.run(command, env=env, timeout=SECONDS)
    except shell.ToolFailed as error:
        raise _explained(f"fetching {len(missing)} Debian packages", error) from None
    for package in missing:
        _keep(package, scratch / f"{package.sha256}.deb", into / f"{package.sha256}.deb")


def _keep(package: Package, came: Path, to: Path) -> None:
    check(package, came)
    came.chmod(0o600)
    files.move(came, to)


def check(package: Package, path: Path) -> None:
    """Insist that a file is the package that the lock names. Raises `BundleError`."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise BundleError(
            f"{package.name} {package.version} is not what the lock says: it has SHA-256 {found}, and not "
            f"{package.sha256}",
            hint=f"rm '{path}', and try again; if it stays so, somebody changed the lock or the mirror",
        )


def _settings(folder: Path, architecture: str) -> str:
    network = [line for line in shell.run(["apt-config", "dump"]).output.splitlines() if _ACQUIRE.match(line)]
    own = {
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "Dir::Cache::archives": folder / "archives",
        "APT::Architecture": architecture,
        "APT::Architectures::": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::AllowInsecureRepositories": "false",
    }
    lines = ["#clear APT::Architectures;", *network, *(f'{key} "{value}";' for key, value in own.items())]
    return "".join(f"{line}\n" for line in lines)


def _records(text: str) -> list[dict[str, str]]:
    """The first lines of the fields of each record."""
    records = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if line[:1].strip()]
        if lines:
            records.append({name: value for name, _, value in lines})
    return records


def _explained(doing: str, error: shell.ToolFailed) -> ModelDeployError:
    text = (error.completed.errors if error.completed else "") or error.message
    lines = [line for line in text.splitlines() if line.startswith(("E:", "W:"))] or text.splitlines()
    reason = " ".join(line[2:].strip() if line[1:2] == ":" else line.strip() for line in lines[:3])[:400]
    if "no space left" in text.lower():
        return files.DiskFull(f"no space left while {doing}", hint="free some space, then run it again")
    if "fetching" in doing and _GONE.search(text):
        return BundleError(
            f"{doing} failed: the mirror has dropped versions that the lock names: {reason}",
            hint="take the versions of today: mdeploy image --upgrade; or push the image once from a machine "
            "that still has this base, because mdeploy takes it from the registry then",
        )
    if "Unable to locate" in text or "no installation candidate" in text:
        return BundleError(f"{doing} failed: {reason}", hint="correct the names in [image] packages")
    return BundleError(
        f"{doing} failed: {reason}", hint="check the network, the proxy and apt's settings, then run it again"
    )
