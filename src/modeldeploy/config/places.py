"""The forms of places and references in the project file: registries, keys, secrets, platforms.

Strings only: the quick commands check a registry's address by the same rules as the schema does.
"""

from __future__ import annotations

import re

PLATFORMS = ("linux/amd64", "linux/arm64")
"""What bundles and images can be made for."""
FIRST_PLATFORM = PLATFORMS[0]
DEBIAN = "debian"
"""The base image that mdeploy makes itself."""
KEYLESS = "keyless"
"""The key of those who sign with the identity that the CI gives."""
OWN_REGISTRY_FOLDER = "registry"
"""The registry of a project that names none: this folder of mdeploy's home."""

REGISTRY_RULE = (
    'a folder ("./registry"), "s3://BUCKET/PREFIX", or "https://HOST/PATH" of a registry '
    '("http://" only for this machine)'
)
BASE_RULE = '"debian", an image in a registry by its digest, or "oci:FOLDER"'
KEY_RULE = 'a file, "env://VARIABLE", a secret such as "secret:keyring:cosign/ci", or "PLUGIN://..."'
REFERENCE_RULE = "a reference to a secret"
REQUIRE_RULE = 'one of "test", "golden", "signed", "scanned", "approved:N"'
PACKAGE_RULE = "the name of a Debian package"
VULNERABILITY_RULE = "the id of a known vulnerability"
LICENSE_RULE = "an SPDX licence expression"

REQUIRE = r"^(test|golden|signed|scanned|approved:[1-9][0-9]?)$"
PACKAGE = r"^[a-z0-9][a-z0-9+.-]{1,99}$"
VULNERABILITY = r"^[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)+$"
REFERENCE = r"^secret:[a-z][a-z0-9-]*:.+$"
OTHER_KEY = r"[a-z][a-z0-9+.-]*://.+"

_BUCKET = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.-]+)*/?"
_HOST = r"(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_PATH = r"(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*/?"
_ADDRESS = re.compile(rf"(?P<scheme>https?)://{_HOST}{_PATH}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_LIKE_A_HOST = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(/|$)")
_BY_DIGEST = re.compile(rf"{_HOST}/[a-z0-9._/-]+(?::[\w.-]+)?@sha256:[0-9a-f]{{64}}")
_HOST_AND_PORT = re.compile(rf"{_HOST}{_PATH}")


def not_a_registry(url: str) -> str | None:
    """Why this is no address of a registry; None if it is one. Never holds a password of it."""
    if not url.strip() or not url.isprintable() or len(url) > 500:
        return "not the address of a registry"
    if re.search(r"://[^/\s]*@", url):
        return (
            "holds a user name or password; those have keys of their own, registry.username and "
            "registry.password"
        )
    scheme = _SCHEME.match(url)
    if scheme is None:
        return _not_a_folder(url)
    if scheme[1] == "s3":
        return None if re.fullmatch(_BUCKET, url) else "not a bucket of S3"
    if scheme[1] in ("http", "https"):
        return not_an_address(url)
    return f"'{scheme[1][:40]}:' is not known"


def _not_a_folder(url: str) -> str | None:
    if url.startswith("~"):
        return "begins with ~; write the whole path"
    if _LIKE_A_HOST.match(url):
        return f"may be a host or a folder; write https://{url[:100]} or ./{url[:100]}"
    return None


def not_an_address(url: str) -> str | None:
    """Why this is no HTTP address that content may be sent to; None if it is one."""
    found = _ADDRESS.fullmatch(url)
    if found is None:
        return "not the address of a registry"
    if found["scheme"] == "http" and not is_loopback(found["host"]):
        return "http:// sends passwords and models in the clear, so it is only for this machine"
    return None


def nearest_registry(url: str) -> str | None:
    """The address that was most likely meant, or None."""
    bare = re.sub(r"^(oci|docker|docker-distribution|registry)://", "", url)
    if re.search(r"[@\s]", bare) or len(bare) > 200:
        return None
    if bare.startswith("file://"):
        return bare.removeprefix("file://") or None
    found = _HOST_AND_PORT.fullmatch(re.sub(r"^https?://", "", bare))
    if found is None:
        return None
    rest = re.sub(r"^https?://", "", bare)
    return f"{'http' if is_loopback(found['host']) else 'https'}://{rest}"


def is_loopback(host: str) -> bool:
    """True for a name or address of this machine alone."""
    if host == "localhost":
        return True
    import ipaddress  # 2 ms that only web addresses cost

    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_folder(url: str) -> bool:
    """True for a registry that is a folder."""
    return _SCHEME.match(url) is None


def is_base(text: str) -> bool:
    """True for something that an image can be built on."""
    folder = text.removeprefix("oci:")
    named = text.startswith("oci:") and folder.strip() != "" and folder.isprintable() and len(folder) < 500
    return text == DEBIAN or named or _BY_DIGEST.fullmatch(text) is not None


def is_reference(key: str) -> bool:
    """True for a key that is named by something else than its path."""
    return key.startswith("secret:") or re.fullmatch(OTHER_KEY, key) is not None
