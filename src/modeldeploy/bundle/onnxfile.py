"""Walks an ONNX file's protobuf frame without loading it: is it one, is it whole, which files go with it.

Only lengths and tags are read, so tensors of gigabytes are stepped over. Field numbers are those of
``onnx.proto``. Safe on hostile input: nothing is allocated from a length, and nesting is bounded.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
_IR_VERSION, _GRAPH, _FUNCTIONS = 1, 7, 25
_TENSOR_EXTERNAL = 13
_DEEPEST = 24

# Which fields of each message lead to tensors: field number -> message.
_PATHS: dict[str, dict[int, str]] = {
    "model": {_GRAPH: "graph", _FUNCTIONS: "function", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {_TENSOR_EXTERNAL: "external"},
}


class NotOnnx(ValueError):
    """The content is something else."""


class Damaged(ValueError):
    """The content begins like an ONNX model and breaks off or contradicts itself."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What the frame tells. ``external``: names of the files that hold tensors, in order of their names."""

    external: tuple[str, ...]


def glance(model: Path) -> None:
    """Look at the outermost fields only, which takes no time. Raises `NotOnnx`, `Damaged` or OSError."""
    with model.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _check_top(content)


def survey(model: Path) -> Survey:
    """Walk the whole frame. Raises `NotOnnx`, `Damaged` or OSError."""
    with model.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _check_top(content)
        external: set[str] = set()
        _walk(content, 0, len(content), "model", external, 0)
    return Survey(tuple(sorted(external)))


def _check_top(content: mmap.mmap) -> None:
    """The outermost message must be a model: known fields only, with a version and a graph."""
    seen: set[int] = set()
    try:
        for field, _start, _end in _fields(content, 0, len(content)):
            if field not in _MODEL_FIELDS:
                raise NotOnnx(f"its field {field} is not one of an ONNX model")
            seen.add(field)
    except Damaged as error:
        if {_IR_VERSION, _GRAPH} & seen or (_IR_VERSION in _first_field(content)):
            raise
        raise NotOnnx("its bytes are not a protobuf message") from error
    if _GRAPH not in seen:
        raise NotOnnx("it has no graph")


def _first_field(content: mmap.mmap) -> set[int]:
    """The number of the first field, if that is a version number as models have it (1 to 99)."""
    return {_IR_VERSION} if content[0] == 0x08 and len(content) > 1 and 0 < content[1] < 100 else set()


def _walk(content: mmap.mmap, start: int, end: int, message: str, external: set[str], depth: int) -> None:
    if depth > _DEEPEST:
        raise Damaged(f"its graphs are nested more than {_DEEPEST} deep")
    inner = _PATHS[message]
    for field, first, last in _fields(content, start, end):
        kind = inner.get(field)
        if kind is None or first is None:
            continue
        if kind == "external":
            external.update(_location(content, first, last))
        else:
            _walk(content, first, last, kind, external, depth + 1)


def _location(content: mmap.mmap, start: int, end: int) -> Iterator[str]:
    """The value of one key-value entry of ``external_data``, if its key is ``location``."""
    entry = {
        field: content[first:last]
        for field, first, last in _fields(content, start, end)
        if first is not None and last - first < 4096
    }
    if entry.get(1) == b"location":
        yield entry.get(2, b"").decode(errors="replace")


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int | None, int]]:
    """Field number and range of each length-delimited field; for numbers the range is (None, end)."""
    at = start
    while at < end:
        tag, at = _varint(content, at, end)
        field, wire = tag >> 3, tag & 7
        if wire == 2:
            size, at = _varint(content, at, end)
            first: int | None = at
            at += size
        elif wire == 0:
            _, at = _varint(content, at, end)
            first = None
        elif wire in (1, 5):
            first, at = None, at + (8 if wire == 1 else 4)
        else:
            raise Damaged(f"byte {at - 1} is not the start of a field")
        if at > end:
            raise Damaged(f"it breaks off: {at:,} bytes were expected, {end:,} are there")
        yield field, first, at


def _varint(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise Damaged(f"it breaks off in a number at byte {at:,}")
