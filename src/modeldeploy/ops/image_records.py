"""The images that this machine has made of bundles, as their records tell: for `inspect` and `why`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modeldeploy import files
from modeldeploy.bundle.compare import LayerChange
from modeldeploy.image.cache import ImageCache


@dataclass(frozen=True, slots=True)
class ImageLine:
    """An image of a bundle on this machine."""

    digest: str
    engine: str
    """Who made it: ``none`` is mdeploy itself."""
    platforms: tuple[str, ...]
    size: int
    """Bytes of all its layers, as they are sent; one that two platforms share is counted once."""


@dataclass(frozen=True, slots=True)
class _Layer:
    platform: str
    kind: str
    name: str
    diff_id: str
    digest: str
    size: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is, whatever version of it: wheels have theirs behind the name."""
        return self.platform, self.kind, self.name.split()[0] if self.kind == "wheel" else self.name


@dataclass(frozen=True, slots=True)
class _Record:
    line: ImageLine
    layers: tuple[_Layer, ...]


def images(bundle: str) -> tuple[ImageLine, ...]:
    """The images of the bundle with that digest, newest first."""
    return tuple(record.line for record in _records(bundle))


def changes(before: str, after: str) -> tuple[LayerChange, ...]:
    """Which layers differ between the newest images of two bundles by one engine; none without such."""
    old, new = list(_records(before)), list(_records(after))
    pair = next(((one, two) for one in old for two in new if one.line.engine == two.line.engine), None)
    return tuple(_changed(*pair)) if pair else ()


def _changed(before: _Record, after: _Record) -> Iterator[LayerChange]:
    old, new = ({layer.key: layer for layer in record.layers} for record in (before, after))
    for key in sorted(old.keys() | new.keys()):
        left, right = old.get(key), new.get(key)
        if left and right and left.digest == right.digest:
            continue
        yield LayerChange(
            platform=key[0],
            kind=key[1],
            name=key[2],
            before=f"{left.name} {left.digest}" if left else None,
            after=f"{right.name} {right.digest}" if right else None,
            compression_only=bool(left and right and left.diff_id == right.diff_id),
        )


def _records(bundle: str) -> Iterator[_Record]:
    folder = ImageCache().made / bundle.removeprefix("sha256:")
    for path in sorted(folder.glob("*.json"), key=lambda path: -path.stat().st_mtime_ns):
        try:
            yield _record(files.read_json(path))
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            continue  # of another version of mdeploy, or damaged: the image is made again when it is wanted


def _record(value: Any) -> _Record:
    layers = tuple(
        _layer(platform, *parts) for platform in value["platforms"] for parts in platform["layers"]
    )
    sizes = {layer.digest: layer.size for layer in layers}
    platforms = tuple(_platform(platform) for platform in value["platforms"])
    line = ImageLine(str(value["top"]), str(value["engine"]), platforms, sum(sizes.values()))
    return _Record(line, layers)


def _platform(value: Any) -> str:
    told = value["manifest"]["platform"]
    return f"{told['os']}/{told['architecture']}"


def _layer(platform: Any, kind: str, name: str, diff_id: str, descriptor: Any) -> _Layer:
    return _Layer(
        _platform(platform), kind, name, diff_id, str(descriptor["digest"]), int(descriptor["size"])
    )
