"""What a bundle says about itself: ``mdeploy.json`` in its root, whose digest is the bundle's identity.

The manifest lists every file of the bundle with its SHA-256, size and executable bit. So the SHA-256 of
the manifest's own bytes pins the whole content, and that is the bundle's digest. The bytes are canonical:
JSON, UTF-8, keys sorted, files sorted by path, no white space, one newline at the end. Nothing in it
depends on the folder, the user, the umask, the time zone, the locale or the clock.

Keys that came later (licence, metadata, platforms, exact Python, several models) are written only where they
say something, and a key that a later mdeploy writes is kept as it is. So bundles of other versions keep their
digests.

Facts that may differ between two machines without making another bundle (git commit, tool versions) are
in ``mdeploy-build.json`` beside it, which the manifest does not list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from modeldeploy.bundle.signature import Signature
from modeldeploy.config.names import NAME, VERSION, matches
from modeldeploy.errors import BundleError
from modeldeploy.model import BundleRef
from modeldeploy.oci.descriptor import LARGEST, digest_of

FORMAT = 1
"""Grows when an older mdeploy could not run the bundle."""
MANIFEST = "mdeploy.json"
BUILD_FACTS = "mdeploy-build.json"
SOURCE = "src"
"""Folder of the Bento that its service runs in: code, and models at their paths in the project."""
LOCK = "env/python/requirements.txt"
"""Where a Bento keeps its requirements, and so where a bundle keeps its lock."""
MTIME = 315_532_800_000_000_000
"""Modification time of every file of a bundle, in nanoseconds: the first second of 1980, as in a wheel."""
_WHOLE_VERSION = re.compile(r"[0-9]+\.[0-9]+(\.[0-9]+[a-z0-9]*)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PROTOCOL = re.compile(r"[a-z][a-z0-9-]{0,31}")
PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?")
GENERATED = "mdeploy_service:service"
"""The service of a bundle whose project has none of its own."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a bundle. ``path`` is relative to its root with forward slashes; ``size`` in bytes."""

    path: str
    sha256: str
    """64 hexadecimal digits."""
    size: int
    executable: bool = False

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return {
            "path": self.path,
            "sha256": self.sha256,
            "size": self.size,
            "executable": self.executable,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> File:
        """Reads what `to_json` wrote."""
        path = _inside(str(value["path"]))
        sha256, size = str(value["sha256"]), int(value["size"])
        if not _SHA256.fullmatch(sha256) or not 0 <= size <= LARGEST:
            raise ValueError(f"{path[:80]!r} has no digest and size that a file can have")
        return cls(path, sha256, size, bool(value["executable"]))


@dataclass(frozen=True, slots=True)
class Golden:
    """The recorded samples: where they are in the bundle, how many, and how close an answer must be."""

    path: str
    samples: int
    rtol: float
    atol: float

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        tolerance = {"rtol": float(self.rtol), "atol": float(self.atol)}  # 0 and 0.0 are written alike
        return {"path": self.path, "samples": self.samples, **tolerance}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Golden:
        """Reads what `to_json` wrote."""
        path = _inside(str(value["path"]))
        return cls(path, int(value["samples"]), float(value["rtol"]), float(value["atol"]))


@dataclass(frozen=True, slots=True)
class NamedModel:
    """One of several models of a bundle."""

    name: str
    framework: str
    path: str
    """The file to load, or the folder."""

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return {"name": self.name, "framework": self.framework, "path": self.path}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> NamedModel:
        """Reads what `to_json` wrote."""
        return cls(_word(NAME, value["name"]), str(value["framework"]), _inside(str(value["path"])))


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that mdeploy knows of a bundle without running it."""

    name: str
    version: str
    framework: str
    """``onnx``, say; ``custom`` for a model that only the project's own service understands; of several
    models ``onnx+sklearn``, say."""
    entrypoint: str
    """The service as BentoML imports it from ``src/``, e.g. ``service:Digits``."""
    model: tuple[str, ...]
    """Paths of the models' files in the bundle; of one that is a single file, that one first."""
    python: str
    """The Python that its lock is for, e.g. ``3.11``."""
    lock: str
    """``sha256:`` digest of the lock in the bundle."""
    requirements: tuple[str, ...]
    """What the project asked for; the lock says what that became."""
    signature: Signature | None = None
    """What clients send and get; None for a service of the project's own that says nothing of it."""
    golden: Golden | None = None
    files: tuple[File, ...] = ()
    python_full: str = ""
    """The exact Python that the lock was resolved on, e.g. ``3.11.7``; "" in bundles of older versions."""
    platforms: tuple[str, ...] = ()
    """Where every package of the lock is there as a wheel, e.g. ``linux/arm64``; images are for these."""
    license: str = ""
    """The model's licence as an SPDX expression; "" where the project names none."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the project tells of the model: metrics, data set, lineage. JSON values."""
    models: tuple[NamedModel, ...] = ()
    """Where there are several; how they are one says ``mdeploy_service.json``."""
    protocols: tuple[str, ...] = ()
    """What it speaks besides HTTP and what every service reads: ``arrow``, ``grpc``."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Keys that a later mdeploy wrote: not understood, and kept, since they are part of the digest."""

    @property
    def generated(self) -> bool:
        """True if the service is mdeploy's own, made from the signature."""
        return self.entrypoint == GENERATED

    def ref(self) -> BundleRef:
        """Name, version and digest."""
        return BundleRef(self.name, self.version, self.digest())

    def digest(self) -> str:
        """The bundle's identity: ``sha256:`` of the manifest's bytes."""
        return digest_of(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The one form in which this manifest is written."""
        later = {
            "python_full": self.python_full,
            "platforms": list(self.platforms),
            "license": self.license,
            "metadata": dict(self.metadata),
            "models": [model.to_json() for model in self.models],
            "protocols": list(self.protocols),
        }
        value = {
            **self.others,
            **{key: said for key, said in later.items() if said},
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "framework": self.framework,
            "entrypoint": self.entrypoint,
            "model": list(self.model),
            "python": self.python,
            "lock": self.lock,
            "requirements": list(self.requirements),
            "signature": self.signature.to_json() if self.signature else None,
            "golden": self.golden.to_json() if self.golden else None,
            "files": [entry.to_json() for entry in sorted(self.files, key=lambda entry: entry.path)],
        }
        return canonical(value)

    @classmethod
    def from_bytes(cls, content: bytes, *, where: str = MANIFEST) -> Manifest:
        """Reads what `to_bytes` wrote. Raises `BundleError` for anything else; ``where`` is named there."""
        try:
            value = json.loads(content)
            if value["format"] != FORMAT:
                raise _other_format(where, value["format"])
            manifest = cls._of(value)
            _insist_on_form(manifest.to_bytes(), content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleError(
                f"{where} is not a manifest of mdeploy: {type(error).__name__}: {error}",
                hint="build the bundle again: mdeploy build",
            ) from error
        return manifest

    @classmethod
    def _of(cls, value: Mapping[str, Any]) -> Manifest:
        signature, golden = value["signature"], value["golden"]
        return cls(
            name=_word(NAME, value["name"]),
            version=_word(VERSION, value["version"]),
            framework=str(value["framework"]),
            entrypoint=str(value["entrypoint"]),
            model=tuple(_inside(str(path)) for path in value["model"]),
            python=_version(str(value["python"])),
            lock=str(value["lock"]),
            requirements=tuple(value["requirements"]),
            signature=Signature.from_json(signature) if signature else None,
            golden=Golden.from_json(golden) if golden else None,
            files=_each_once(tuple(File.from_json(entry) for entry in value["files"])),
            python_full=_exact(str(value["python_full"])) if "python_full" in value else "",
            platforms=tuple(_platform(one) for one in value.get("platforms", ())),
            license=str(value.get("license", "")),
            metadata=dict(value.get("metadata", {})),
            models=tuple(NamedModel.from_json(model) for model in value.get("models", ())),
            protocols=tuple(_protocol(one) for one in value.get("protocols", ())),
            others={key: said for key, said in value.items() if key not in _KEYS},
        )

    @classmethod
    def read(cls, bundle: Path) -> Manifest:
        """The manifest of an unpacked bundle. Raises `BundleError` where there is none."""
        path = bundle / MANIFEST
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(
                f"{bundle} is no bundle: {MANIFEST}: {error.strerror}", hint="make one: mdeploy build"
            ) from error
        return cls.from_bytes(content, where=str(path))


_KEYS = frozenset({"format", *Manifest.__dataclass_fields__} - {"others"})


def canonical(value: object) -> bytes:
    """JSON in its one canonical form: sorted keys, UTF-8, no white space, a newline at the end."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _inside(path: str) -> str:
    """A path of a manifest, which must not lead out of its bundle."""
    if path.startswith("/") or {"", ".", ".."} & set(path.split("/")) or "\0" in path:
        raise ValueError(f"the path {path[:80]!r} leads out of the bundle")
    return path


def _word(form: str, text: object) -> str:
    """A name or a version, which becomes the name of a file and a word of a command line."""
    if not isinstance(text, str) or not matches(form, text):
        raise ValueError(f"{text!r:.80} can be no name or version of a bundle")
    return text


def _each_once(files: tuple[File, ...]) -> tuple[File, ...]:
    """The files of a manifest: no path twice, none that is a folder too, none that mdeploy itself writes."""
    paths = {entry.path for entry in files}
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    wrong = len(paths) < len(files) or paths & folders or paths & {MANIFEST, BUILD_FACTS}
    if wrong:
        raise ValueError("it lists a path that stands for two things")
    return files


def _version(text: str) -> str:
    """A Python version, which becomes a word of a command line."""
    if not all(part.isdecimal() for part in text.split(".")):
        raise ValueError(f"{text[:20]!r} is no version of Python")
    return text


def _exact(text: str) -> str:
    if not _WHOLE_VERSION.fullmatch(text):
        raise ValueError(f"{text[:20]!r} is no version of Python")
    return text


def _insist_on_form(canonical: bytes, found: bytes) -> None:
    """One manifest has one digest: what was read must be all that was written."""
    if canonical != found:
        raise ValueError("it is not in the one form that manifests have")


def _protocol(text: object) -> str:
    if not isinstance(text, str) or not _PROTOCOL.fullmatch(text):
        raise ValueError(f"{text!r:.40} is no protocol; expected one such as grpc")
    return text


def _platform(text: object) -> str:
    if not isinstance(text, str) or not PLATFORM.fullmatch(text):
        raise ValueError(f"{text!r:.40} is no platform; expected one such as linux/arm64")
    return text


def _other_format(where: str, found: object) -> BundleError:
    return BundleError(
        f"{where} has format {found!r}; this mdeploy reads format {FORMAT}",
        hint="use the mdeploy that built it, or build the bundle again: mdeploy build",
    )
