"""Says what a file would run if it were loaded. Loads nothing; runs as a child process that may crash.

``python -m modeldeploy.bundle.pickle_probe FILE SECONDS``
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import re
import resource
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from modeldeploy.bundle.formats import PICKLES
from modeldeploy.bundle.pickle_machine import UNKNOWN_NAME, Machine, Malformed

_SURELY = frozenset({".pkl", ".pickle", ".joblib", ".dill"})
_MAGIC = re.compile(rb"\x80[\x00-\x05]")
_DEPTH = 3
_MEMBERS = 100_000
_ROOM = 4 << 30
"""Bytes that may come out of one file."""
_FREE, _RATIO = 64 << 20, 500
_GIB = 1 << 30
_LAMBDA = re.compile(rb'"class_name"\s*:\s*"(Lambda|__lambda__)"')
_OWN_CLASS = re.compile(rb'"module"\s*:\s*"([\w.]{1,200})"')
_KERAS = (b"keras", b"tf_keras", b"tensorflow", b"builtins", b"ml_dtypes", b"numpy")

WORSE = {
    "builtins": {"__import__", "globals", "vars", "setattr", "delattr", "input"},
    "__builtin__": {"__import__", "globals", "vars", "setattr", "delattr", "input", "execfile", "file"},
    **dict.fromkeys(("importlib", "marshal", "multiprocessing", "ftplib", "smtplib", "http", "urllib"), None),
    **dict.fromkeys(("dill", "zipimport", "tempfile", "atexit", "signal", "site", "antigravity"), None),
    "cloudpickle": {"load", "loads"},
    "joblib": {"load"},
    "joblib.numpy_pickle": {"load"},
    "pandas": {"read_pickle"},
    "pandas.io.pickle": {"read_pickle"},
    "numpy": {"load", "fromfile", "memmap"},
    "torch": {"load"},
    "torch.hub": None,
    "torch.jit": {"load"},
    "platform": {"popen"},
}
"""What picklescan lets pass though it runs code, opens files or reaches the network. None: all of it."""
BETTER = {
    ("_codecs", "encode"),
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    *(("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")),
    *((module, name) for module in ("builtins", "__builtin__") for name in ("object", "set", "frozenset")),
    *((module, name) for module in ("builtins", "__builtin__") for name in ("bytearray", "complex", "slice")),
}
"""What picklescan does not know, and is needed by nearly every pickle of arrays and classes."""


class TooMuch(Exception):
    """More comes out of the file than any model holds."""


@dataclass
class Seen:
    """What was found in one file."""

    names: set[tuple[str, str]] = field(default_factory=set)
    kinds: list[str] = field(default_factory=list)
    dangers: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def main() -> None:
    """Print one line: what was found, as JSON values."""
    path, seconds = Path(sys.argv[1]), int(sys.argv[2])
    _limit(path.stat().st_size, seconds)
    seen = Seen()
    try:
        with path.open("rb") as stream:
            examine(stream, path.name, seen, path.stat().st_size)
    except TooMuch as error:
        seen.dangers.append(str(error))
    except MemoryError:
        seen.dangers.append("it takes more memory to look through than any model of its size should")
    print(json.dumps(_told(seen)))  # noqa: T201  # stdout is this program's interface


def examine(stream: BinaryIO, name: str, seen: Seen, size: int, depth: int = 0) -> None:
    """Look at a file, or at a member of an archive, by its content and its name."""
    head = _peek(stream, 16)
    suffix = Path(name).suffix.lower()
    machine = next((made for start, made in _COMPRESSED.items() if head.startswith(start)), None)
    if machine and depth < _DEPTH and (suffix in _PACKED or not head.startswith(b"x")):
        _unpacked(cast("BinaryIO", _Unpacker(stream, machine())), name, seen, size, depth)
    elif head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        _archive(stream, name, seen, depth)
    elif head.startswith(b"\x93NUMPY"):
        _array(stream, seen)
    elif head.startswith(b"\x89HDF\r\n\x1a\n"):
        seen.kinds.append("HDF5")
        _search(stream, seen)
    elif head.startswith((b"7z\xbc\xaf\x27\x1c", b"\x04\x22\x4d\x18", b"Rar!")):
        seen.kinds.append("archive")
        seen.doubts.append("it is packed in a way that cannot be looked into (7z, lz4, rar)")
    else:
        _pickles(stream, seen, insist=bool(_MAGIC.match(head)) or suffix in _SURELY)


def _pickles(stream: BinaryIO, seen: Seen, *, insist: bool) -> None:
    """A pickle and those that follow it, as PyTorch's old files have them."""
    before = len(seen.names)
    try:
        Machine(stream, seen.names).run()
    except Malformed as error:
        if insist or len(seen.names) > before:
            seen.kinds.append("pickle")
            seen.dangers.append(f"it is a pickle that cannot be followed to its end ({str(error)[:120]})")
        return
    seen.kinds.append("pickle")
    while _MAGIC.match(_peek(stream, 2)):
        try:
            Machine(stream, seen.names).run()
        except Malformed:
            return  # raw data behind the last one


def _archive(stream: BinaryIO, name: str, seen: Seen, depth: int) -> None:
    from picklescan.relaxed_zipfile import RelaxedZipFile  # also reads what PyTorch reads and zipfile refuses

    seen.kinds.append("archive")
    if depth >= _DEPTH:
        seen.doubts.append("archives in archives in archives")
        return
    try:
        with RelaxedZipFile(stream, "r") as archive:
            members = archive.infolist()
            if len(members) > _MEMBERS:
                raise TooMuch(f"it is an archive of {len(members):,} files")
            for member in members:
                _member(archive, member, name, seen, depth)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
        seen.doubts.append(f"it is a damaged archive ({type(error).__name__})")


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, seen: Seen, depth: int) -> None:
    try:
        with archive.open(member) as raw:
            bounded = _Bounded(cast("BinaryIO", raw), max(member.compress_size, 1))
            stream = cast("BinaryIO", io.BufferedReader(bounded, 1 << 16))
            if name.lower().endswith(".keras") and member.filename == "config.json":
                _search(stream, seen)
            elif _peek(stream, 4) == b"PK\x03\x04":
                raw.seek(0)
                examine(cast("BinaryIO", raw), member.filename, seen, member.compress_size, depth + 1)
            else:
                examine(stream, member.filename, seen, member.compress_size, depth + 1)
    except (RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        seen.doubts.append(f"a file in it cannot be unpacked: {error}"[:200])


def _unpacked(stream: BinaryIO, name: str, seen: Seen, size: int, depth: int) -> None:
    bounded = io.BufferedReader(_Bounded(stream, size), 1 << 16)
    inner = name.removesuffix(Path(name).suffix) if Path(name).suffix.lower() in _PACKED_ONLY else name
    try:
        examine(cast("BinaryIO", bounded), inner, seen, size, depth + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        seen.doubts.append(f"it cannot be unpacked: {error}"[:200])


def _array(stream: BinaryIO, seen: Seen) -> None:
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        _, _, dtype = header(stream)
    except (ValueError, TypeError, SyntaxError) as error:
        seen.doubts.append(f"it is an array with a damaged head ({type(error).__name__})")
        return
    if dtype.hasobject:
        _pickles(stream, seen, insist=True)


def _search(stream: BinaryIO, seen: Seen) -> None:
    """Look for Keras layers that are Python code: their names stand in these files as plain text."""
    before = b""
    for piece in iter(lambda: stream.read(1 << 20), b""):
        text = before + piece
        if _LAMBDA.search(text):
            seen.kinds.append("Keras")
            seen.dangers.append("it holds a Lambda layer, which is Python code that Keras runs")
            return
        own = {found for found in _OWN_CLASS.findall(text) if not found.startswith(_KERAS)}
        for found in sorted(own)[:5]:
            seen.doubts.append(f"it loads a class of the module {found.decode()}")
        before = text[-4096:]
    seen.doubts[:] = sorted(set(seen.doubts))


class _Bounded(io.RawIOBase):
    """A stream from which no more comes than there is room for."""

    def __init__(self, stream: BinaryIO, packed: int) -> None:
        self._stream, self._packed, self._count = stream, packed, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(len(buffer))
        buffer[: len(piece)] = piece
        self._count += len(piece)
        if self._count > _ROOM or (self._count > _FREE and self._count > _RATIO * self._packed):
            raise TooMuch(f"it is a bomb: {self._packed:,} bytes unpack to more than {self._count:,}")
        return len(piece)


class _Unpacker(io.RawIOBase):
    """A compressed stream, unpacked."""

    def __init__(self, stream: BinaryIO, machine: Any) -> None:
        self._stream, self._machine = stream, machine

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._machine.eof:
            wants = getattr(self._machine, "needs_input", True)
            packed = getattr(self._machine, "unconsumed_tail", b"") or (self._packed() if wants else b"")
            piece: bytes = self._machine.decompress(packed, size if size > 0 else 1 << 16)
            if piece or (wants and not packed):
                return piece
        return b""

    def _packed(self) -> bytes:
        return self._stream.read(1 << 16)


_PACKED = frozenset({*PICKLES, ".z", ".gz", ".bz2", ".xz", ".lzma", ".zlib"})
_PACKED_ONLY = frozenset({".z", ".gz", ".bz2", ".xz", ".lzma", ".zlib"})
_COMPRESSED: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": partial(zlib.decompressobj, 31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor,
    b"\x5d\x00\x00": lzma.LZMADecompressor,
    **dict.fromkeys((b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"), zlib.decompressobj),
}
"""First bytes of what is compressed as a whole, as joblib does it, and what unpacks it."""


def _peek(stream: BinaryIO, count: int) -> bytes:
    if isinstance(stream, io.BufferedReader) and not stream.seekable():
        return stream.peek(count)[:count]
    head = stream.read(count)
    stream.seek(-len(head), io.SEEK_CUR)
    return head


def judged(names: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Each import and how bad it is: ``innocuous``, ``suspicious`` or ``dangerous``."""
    from picklescan.scanner import scan_pickle_bytes

    plain = {pair for pair in names if pair != UNKNOWN_NAME and not {"\n", " "} & {*pair[0], *pair[1]}}
    # picklescan judges pickles, so it is given one that imports just these and nothing else.
    imports = b"".join(f"c{module}\n{name}\n0".encode(errors="replace") for module, name in sorted(plain))
    safety = {
        (found.module, found.name): str(found.safety.value)
        for found in scan_pickle_bytes(io.BytesIO(imports + b"N."), "the imports").globals
    }
    for pair in sorted(names):
        told = "innocuous" if pair in BETTER else safety.get(pair, "dangerous")
        yield ".".join(pair), "dangerous" if _is_worse(*pair) else told


def _is_worse(module: str, name: str) -> bool:
    parts = module.split(".")
    above = [".".join(parts[: count + 1]) for count in range(len(parts))]
    if any(WORSE.get(part, ()) is None for part in above):
        return True
    first = name.split(".", maxsplit=1)[0]
    return first in (WORSE.get(module) or ()) or first.startswith("__")


def _told(seen: Seen) -> dict[str, Any]:
    calls = [{"name": _clean(name), "safety": safety} for name, safety in judged(seen.names)]
    if any(call["safety"] == "dangerous" for call in calls) or seen.dangers:
        level = "dangerous"
    elif seen.doubts or any(call["safety"] != "innocuous" for call in calls):
        level = "suspicious"
    else:
        level = "innocuous"
    calls.sort(key=lambda call: ("dangerous", "suspicious", "innocuous").index(call["safety"]))
    reasons = [_clean(reason) for reason in (*seen.dangers, *sorted(set(seen.doubts)))]
    return {"kinds": sorted(set(seen.kinds)), "level": level, "calls": calls[:200], "reasons": reasons[:20]}


def _clean(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


def _limit(size: int, seconds: int) -> None:
    """Bound processor time, memory and what can be written: enough for any honest model."""
    for kind, amount in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, 2 * _GIB + 3 * size),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(kind, (amount, amount))
        except (ValueError, OSError):
            continue  # lower already, or this system does not let it be set


if __name__ == "__main__":
    main()
