"""``modeldeploy.image.lock``: what an image is made of below the bundle, pinned.

It holds, per platform, either the Debian packages with their versions and hashes or the digest of a base
by reference; besides the exact CPython that compiles ``.pyc`` files and the compressor, because both decide
over bytes. The project keeps it beside its project file and commits it: the same lock and the same bundle
give the same image on any machine. No mirror is named in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modeldeploy import files
from modeldeploy.errors import BundleError
from modeldeploy.oci.descriptor import DIGEST, Descriptor

FILENAME = "modeldeploy.image.lock"
FORMAT = 1
"""Grows when an older mdeploy could not read the lock."""
LEVEL = 6
_LARGEST = 20_000_000
"""Bytes; a base of a thousand packages has some 400 thousand."""
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:-]*")
_PYTHON = re.compile(r"3\.\d+(\.\d+)?")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Package:
    """One Debian package. ``filename`` is relative to its archive, as the archive's own index has it."""

    name: str
    version: str
    architecture: str
    """``amd64``, ``arm64`` or ``all``."""
    source: str
    """Name of the source package, by which vulnerabilities are told."""
    archive: str
    """``debian``, or ``security`` for packages of the security archive."""
    filename: str
    size: int
    sha256: str
    """64 hexadecimal digits."""

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Package:
        """Reads what `to_json` wrote. Raises ValueError for what cannot be a package."""
        found = cls(**{name: value[name] for name in cls.__slots__})
        texts = (found.name, found.source, found.version, found.architecture, found.filename, found.sha256)
        if not all(type(text) is str for text in texts) or type(found.size) is not int or found.size < 0:
            raise ValueError("a package's fields have the wrong types")
        if not (_NAME.fullmatch(found.name) and _NAME.fullmatch(found.architecture)):
            raise ValueError(f"{found.name[:60]!r} is no package")
        if not (_VERSION.fullmatch(found.version) and _HEX.fullmatch(found.sha256)):
            raise ValueError(f"{found.name}: the version or the hash is none")
        if found.archive not in ("debian", "security") or not _relative(found.filename):
            raise ValueError(f"{found.name}: {found.filename[:80]!r} is no file of an archive")
        return found


@dataclass(frozen=True, slots=True)
class Layer:
    """The layer that the packages became: as it is sent, and the digest of its tar."""

    descriptor: Descriptor
    diff_id: str

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return {**self.descriptor.to_json(), "diffId": self.diff_id}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Layer:
        """Reads what `to_json` wrote."""
        return cls(Descriptor.from_json(value), _digest(value["diffId"]))


@dataclass(frozen=True, slots=True)
class DebianBase:
    """A base made of Debian packages, for one platform."""

    suite: str
    """``bookworm``, ``trixie``."""
    python: str
    """Version of its Python, e.g. ``3.11.2``."""
    builder: int
    """Which builder's layer it is: another one makes other bytes of the same packages."""
    packages: tuple[Package, ...]
    layer: Layer | None = None
    """None until it was made for the first time."""

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return {
            "suite": self.suite,
            "python": self.python,
            "builder": self.builder,
            "layer": self.layer.to_json() if self.layer else None,
            "packages": [package.to_json() for package in self.packages],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DebianBase:
        """Reads what `to_json` wrote."""
        packages = tuple(Package.from_json(each) for each in value["packages"])
        layer = Layer.from_json(value["layer"]) if value["layer"] else None
        suite, builder = value["suite"], value["builder"]
        if not _NAME.fullmatch(suite) or type(builder) is not int:
            raise ValueError(f"{suite!r:.40} is no suite of Debian")
        return cls(suite, _python(value["python"]), builder, packages, layer)


@dataclass(frozen=True, slots=True)
class ReferencedBase:
    """A base by reference, for one platform."""

    manifest: str
    """Digest of the image manifest for that platform."""
    interpreter: str
    """Path of Python in it."""
    python: str

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return {"manifest": self.manifest, "interpreter": self.interpreter, "python": self.python}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ReferencedBase:
        """Reads what `to_json` wrote."""
        interpreter = str(value["interpreter"])
        if not interpreter.startswith("/") or "\0" in interpreter:
            raise ValueError(f"{interpreter[:80]!r} is no absolute path")
        return cls(_digest(value["manifest"]), interpreter, _python(value["python"]))


@dataclass(frozen=True, slots=True)
class Compressor:
    """What compresses layers. Other versions may write other bytes."""

    name: str
    version: str
    level: int = LEVEL

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return {"name": self.name, "version": self.version, "level": self.level}

    @property
    def label(self) -> str:
        """For people and for keys of caches: ``zlib-ng 1.1.0 at level 6``."""
        return f"{self.name} {self.version} at level {self.level}"

    @classmethod
    def here(cls) -> Compressor:
        """The one that this installation has."""
        from importlib.metadata import version

        return cls("zlib-ng", version("zlib-ng"))


@dataclass(frozen=True, slots=True)
class ImageLock:
    """A whole lock."""

    base: str
    """What the project asked for: ``debian``, ``host/repository:tag``, ``oci:folder``."""
    packages: tuple[str, ...]
    """The further packages that it asked for."""
    python: str
    """The Python that it asked for, e.g. ``3.11``."""
    compiler: str
    """Exact version of the CPython whose bytecode is in the image, e.g. ``3.11.2``."""
    compressor: Compressor
    platforms: Mapping[str, DebianBase | ReferencedBase] = field(default_factory=dict)

    def with_platform(self, platform: str, base: DebianBase | ReferencedBase) -> ImageLock:
        """The same with this base for that platform."""
        return replace(self, platforms={**self.platforms, platform: base})

    def to_bytes(self) -> bytes:
        """The one form in which this lock is written: JSON for people to compare, a package a line or so."""
        value = {
            "format": FORMAT,
            "base": self.base,
            "packages": list(self.packages),
            "python": self.python,
            "compiler": self.compiler,
            "compressor": self.compressor.to_json(),
            "platforms": {name: base.to_json() for name, base in self.platforms.items()},
        }
        return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes, *, where: str = FILENAME) -> ImageLock:
        """Reads what `to_bytes` wrote. Raises `BundleError` for anything else; ``where`` is named there."""
        try:
            value = json.loads(content)
            if value["format"] != FORMAT:
                raise BundleError(
                    f"{where} has format {value['format']!r:.40}; this mdeploy reads format {FORMAT}",
                    hint="use the mdeploy that wrote it, or lock anew: mdeploy image --upgrade",
                )
            return cls._of(value)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleError(
                f"{where} is not a lock of mdeploy's: {type(error).__name__}: {error}",
                hint="restore it from version control, or delete it and lock anew: mdeploy image",
            ) from error

    @classmethod
    def _of(cls, value: Mapping[str, Any]) -> ImageLock:
        compressor = value["compressor"]
        return cls(
            base=str(value["base"]),
            packages=tuple(str(name) for name in value["packages"]),
            python=_python(value["python"]),
            compiler=_python(value["compiler"]),
            compressor=Compressor(
                str(compressor["name"]), str(compressor["version"]), int(compressor["level"])
            ),
            platforms={str(name): _base(base) for name, base in value["platforms"].items()},
        )


def read(folder: Path) -> ImageLock | None:
    """The lock of a project, None where there is none. Raises `BundleError` for a file that is none."""
    path = folder / FILENAME
    try:
        content = files.read_small(path, _LARGEST, "lock")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(
            f"cannot read {path}: {reason}", hint=f"restore it, or delete it: rm '{path}'"
        ) from error
    return ImageLock.from_bytes(content, where=str(path))


def write(folder: Path, lock: ImageLock) -> bool:
    """Replace a project's lock, atomically. False if it was so already. Raises `BundleError`."""
    path, content = folder / FILENAME, lock.to_bytes()
    try:
        if path.is_file() and path.read_bytes() == content:
            return False
        files.write_atomic(path, content, mode=0o644)
    except OSError as error:
        raise BundleError(
            f"cannot write {path}: {error.strerror or error}",
            hint=f"make the folder writable, or lock in a copy of it and bring {FILENAME} back",
        ) from error
    return True


def _base(value: Mapping[str, Any]) -> DebianBase | ReferencedBase:
    return ReferencedBase.from_json(value) if "manifest" in value else DebianBase.from_json(value)


def _relative(path: str) -> bool:
    parts = path.split("/")
    return not {"", ".", ".."} & set(parts) and "\0" not in path and not path.startswith("-")


def _digest(text: Any) -> str:
    if not isinstance(text, str) or not DIGEST.fullmatch(text):
        raise ValueError(f"{text!r:.100} is no digest")
    return text


def _python(text: Any) -> str:
    if not isinstance(text, str) or not _PYTHON.fullmatch(text):
        raise ValueError(f"{text!r:.40} is no version of Python")
    return text
