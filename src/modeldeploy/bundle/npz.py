"""The form of a golden file, checked before a build: without numpy (0.2 s), without reading the arrays."""

from __future__ import annotations

import ast
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

from modeldeploy.bundle.signature import Signature, TensorSpec
from modeldeploy.errors import BundleError

_LONGEST_HEADER = 10_000
_MOST_SAMPLES, _MOST_NUMBERS, _MOST_JSON = 100_000, 50_000_000, 200_000_000
_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "U": "string", "S": "string"}
_AGAIN = "record it again: mdeploy golden"


@dataclass(frozen=True, slots=True)
class Header:
    """Type and shape of one array; ``kind`` is the beginning of the dtype's name, such as ``float``."""

    kind: str
    shape: tuple[int, ...]


def stackable(signature: Signature) -> bool:
    """True if samples can be stacked along the leading dimension of all inputs and of all tensors given."""
    specs = [*signature.inputs, *(spec for spec in signature.outputs if spec.is_tensor)]
    return all(spec.batched for spec in specs)


def samples_in(golden: Path, signature: Signature | None) -> int:
    """How many samples a golden file holds, checked against the signature if there is one.

    Raises `BundleError` for a file that is not there, is of another form, or does not fit.
    """
    try:
        if golden.suffix == ".json":
            if golden.stat().st_size > _MOST_JSON:
                raise _unfit(
                    golden, f"it has {golden.stat().st_size:,} bytes; expected at most {_MOST_JSON:,}"
                )
            return _json_samples(golden)
        if golden.suffix != ".npz":
            raise BundleError(f"{golden.name}: golden samples are in a .npz or .json file", hint=_AGAIN)
        arrays = headers(golden)
    except OSError as error:
        raise BundleError(
            f"cannot read the golden samples {golden}: {error.strerror}",
            hint="record them: mdeploy golden; or leave [model] golden out",
        ) from error
    return _checked(golden, arrays, signature)


def headers(file: Path) -> dict[str, Header]:
    """Type and shape of every array of a .npz file. Raises `BundleError` or OSError."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = {}
            for name in archive.namelist():
                with archive.open(name) as stream:
                    found[name.removesuffix(".npy")] = _header(stream)
            return found
    except (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, EOFError, struct.error) as error:
        raise BundleError(f"{file.name} is no intact .npz file: {error}", hint=_AGAIN) from error


def _header(stream: IO[bytes]) -> Header:
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY":
        raise ValueError("an entry is no array")
    wide = start[6] > 1
    (length,) = struct.unpack("<I" if wide else "<H", stream.read(4 if wide else 2))
    if length > _LONGEST_HEADER:
        raise ValueError("an array's header is too long")
    try:
        told = ast.literal_eval(stream.read(length).decode("latin1"))
        dtype, shape = str(told["descr"]), tuple(int(size) for size in told["shape"])
    except (TypeError, KeyError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"an array's header is not in order ({type(error).__name__})") from error
    kind = _KINDS.get(dtype[1:2])
    if kind is None:
        raise ValueError(f"an array has the type {dtype[:40]}; save texts as numpy.array(..., dtype=str)")
    return Header(kind, shape)


def _checked(golden: Path, arrays: Mapping[str, Header], signature: Signature | None) -> int:
    for name in arrays:
        if not name.startswith(("input/", "output/")):
            raise _unfit(golden, f"'{name}' is neither input/NAME nor output/NAME")
    sizes = {header.shape[:1] for header in arrays.values()}
    if len(sizes) != 1 or not (size := sizes.pop()) or not size[0]:
        told = ", ".join(f"{name} {list(header.shape)}" for name, header in arrays.items())
        raise _unfit(golden, f"its arrays do not hold the same number of samples: {told or 'there are none'}")
    for kind in ("input/", "output/"):
        if not any(name.startswith(kind) for name in arrays):
            raise _unfit(golden, f"it has no {kind}NAME")
    if signature:
        _check_names(golden, arrays, signature)
    _check_size(golden, arrays, size[0])
    return size[0]


def _check_size(golden: Path, arrays: Mapping[str, Header], samples: int) -> None:
    """All of it is read and sent at each rollout, and a file of a megabyte may unpack to gigabytes."""
    numbers = sum(math.prod(header.shape) for header in arrays.values())
    if samples > _MOST_SAMPLES or numbers > _MOST_NUMBERS:
        raise _unfit(
            golden,
            f"it holds {samples:,} samples of {numbers:,} numbers; expected at most {_MOST_SAMPLES:,} samples"
            f" and {_MOST_NUMBERS:,} numbers: each rollout sends them all",
        )


def _check_names(golden: Path, arrays: Mapping[str, Header], signature: Signature) -> None:
    inputs = {f"input/{spec.name}": spec for spec in signature.inputs}
    outputs = {f"output/{spec.name}": spec for spec in signature.outputs if spec.is_tensor}
    known = inputs | outputs
    for name, header in arrays.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            also = f"; did you mean '{near[0]}'?" if near else ""
            raise _unfit(golden, f"the model has no '{name}'{also}")
        _check_array(golden, name, header, known[name], stacked=stackable(signature))
    missing = [name for name in inputs if name not in arrays]
    if missing:
        raise _unfit(golden, f"'{missing[0]}' is missing")


def _check_array(golden: Path, name: str, header: Header, spec: TensorSpec, *, stacked: bool) -> None:
    if header.kind != spec.dtype.rstrip("0123456789"):
        raise _unfit(golden, f"'{name}' holds {header.kind}, the model has {spec}")
    if spec.shape is None:
        return
    wanted = spec.shape[1:] if stacked else spec.shape
    if not _fits(header.shape[1:], wanted):
        raise _unfit(golden, f"'{name}' has shape {list(header.shape)}, the model has {spec}")


def _fits(shape: Iterable[int], wanted: Iterable[int | str | None]) -> bool:
    have, want = list(shape), list(wanted)
    return len(have) == len(want) and all(
        size == dimension or not isinstance(dimension, int)
        for size, dimension in zip(have, want, strict=True)
    )


def _json_samples(golden: Path) -> int:
    try:
        cases: Any = json.loads(golden.read_bytes())
    except ValueError as error:
        raise BundleError(f"{golden.name} is no JSON: {error}", hint=_AGAIN) from error
    if not isinstance(cases, list) or not cases:
        raise _unfit(golden, "expected a list of objects with path, body and expect")
    for number, case in enumerate(cases):
        if not isinstance(case, dict) or set(case) != {"path", "body", "expect"}:
            raise _unfit(golden, f"[{number}] must be an object with path, body and expect")
        if not str(case["path"]).startswith("/"):
            raise _unfit(golden, f"[{number}].path must begin with a slash: {case['path']!r}")
    return len(cases)


def _unfit(golden: Path, problem: str) -> BundleError:
    return BundleError(f"{golden.name} does not fit: {problem}", hint=_AGAIN)
