"""Reading tar streams from strangers: one header at a time, nothing believed, nothing written.

Understands ustar, pax and GNU headers, as image layers of others have them. Raises `Malformed` for what is
no tar, ends too early, or says something that no honest archive says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from modeldeploy.oci.manifest import Malformed
from modeldeploy.oci.tar import BLOCK

LONGEST_PATH = 4096
"""Bytes; the limit of the kernel."""
_LARGEST_EXTENSION = 1 << 20
"""Bytes of a pax header, or of a long name; honest ones have some hundred."""
_CHUNK = 1 << 20
_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK = "x", "g", "L", "K"
_EXTENSIONS = frozenset({_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK})
FILES = frozenset({"0", "\0", "7"})
HARD_LINK, SYMLINK, FOLDER = "1", "2", "5"


class Readable(Protocol):
    """What a tar is read from: `read` returns less than asked for only at the end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Member:
    """One entry, as its header says. ``path`` is not checked beyond being text."""

    path: str
    flag: str
    """The type: one of `FILES`, `HARD_LINK`, `SYMLINK`, `FOLDER`, or something else."""
    mode: int
    size: int
    link: str = ""

    @property
    def is_file(self) -> bool:
        """True for a regular file."""
        return self.flag in FILES and not self.path.endswith("/")


class Content:
    """The content of the member that was read last."""

    def __init__(self, stream: Readable, size: int) -> None:
        self._stream, self.left = stream, size
        self._padding = -size % BLOCK

    def pieces(self) -> Iterator[bytes]:
        """All of it, in pieces. Raises `Malformed` where the stream ends before."""
        while self.left:
            piece = self._stream.read(min(self.left, _CHUNK))
            if not piece:
                raise Malformed("the archive ends in the middle of a file")
            self.left -= len(piece)
            yield piece

    def finish(self) -> None:
        """Pass over what was not read, and the padding."""
        for _ in self.pieces():
            pass
        _exactly(self._stream, self._padding)


def members(stream: Readable, *, most: int) -> Iterator[tuple[Member, Content]]:
    """Each entry with its content, which is to be read before the next one is asked for.

    Raises `Malformed` for more than ``most`` entries, and for bytes after the end that are not zeros.
    """
    common: dict[str, str] = {}
    own: dict[str, str] = {}
    for _ in range(8 * most + 8):
        block = _exactly(stream, BLOCK)
        if not any(block):
            _insist_on_end(stream)
            return
        member = _member(block)
        if member.flag in _EXTENSIONS:
            _extend(member, _extension(stream, member.size), common, own)
            continue
        member = _with(member, {**common, **own})
        own = {}
        most -= 1
        if most < 0:
            break
        content = Content(stream, member.size if member.is_file else 0)
        yield member, content
        content.finish()
    raise Malformed("there are more entries in the archive than there may be")


def _extend(member: Member, content: bytes, common: dict[str, str], own: dict[str, str]) -> None:
    if member.flag == _PAX_GLOBAL:
        common |= _pax(content)
    elif member.flag == _PAX:
        own |= _pax(content)
    else:
        own["path" if member.flag == _GNU_NAME else "linkpath"] = _decoded(content.rstrip(b"\0"))


def _exactly(stream: Readable, size: int) -> bytes:
    content = stream.read(size) if size else b""
    while len(content) < size:
        piece = stream.read(size - len(content))
        if not piece:
            raise Malformed("the archive ends too early")
        content += piece
    return content


def _insist_on_end(stream: Readable) -> None:
    while piece := stream.read(_CHUNK):
        if any(piece):
            raise Malformed("something follows the end of the archive")


def _member(block: bytes) -> Member:
    known = _number(block[148:156])
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])
    if known not in (sum(block[:148] + b" " * 8 + block[156:]), signed):
        raise Malformed("a header of the archive has another checksum than it says")
    name = _until_zero(block[:100])
    prefix = _until_zero(block[345:500]) if block[257:263] == b"ustar\0" else b""
    return Member(
        path=_perhaps(prefix + b"/" + name if prefix else name),
        flag=chr(block[156]),
        mode=_number(block[100:108]) & 0o7777,
        size=_number(block[124:136]),
        link=_perhaps(_until_zero(block[157:257])),
    )


def _with(member: Member, extended: Mapping[str, str]) -> Member:
    """The member as its pax and GNU headers correct it."""
    if any(key.startswith("GNU.sparse") for key in extended):
        raise Malformed("the archive holds a sparse file")
    size = member.size
    if "size" in extended:
        if not (extended["size"].isascii() and extended["size"].isdigit() and len(extended["size"]) < 20):
            raise Malformed("a size in the archive is no number")
        size = int(extended["size"])
    path, link = extended.get("path", member.path), extended.get("linkpath", member.link)
    for text in (path, link):
        if len(_insist_on_text(text)) > LONGEST_PATH or not set("\0\n").isdisjoint(text):
            raise Malformed(f"the path {text[:80]!r} can be no path")
    return replace(member, path=path, link=link, size=size)


def _number(field: bytes) -> int:
    """A number of a header: octal digits, or the binary form of GNU."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes((field[0] & 0x7F,)) + field[1:], "big")
        if value >= 1 << 60 or field[0] & 0x40:
            raise Malformed("a number in the archive is out of bounds")
        return value
    text = field.strip(b" \0")
    if not all(byte in b"01234567" for byte in text):
        raise Malformed("a number in the archive is no number")
    return int(text or b"0", 8)


def _until_zero(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Malformed(f"the path {raw[:80]!r} is not UTF-8") from None


def _perhaps(raw: bytes) -> str:
    """A name that a longer one in a header before it may replace: it may be cut in the middle of a letter."""
    return raw.decode(errors="surrogateescape")


def _insist_on_text(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Malformed(f"the path {text[:80]!r} is not UTF-8") from None


def _extension(stream: Readable, size: int) -> bytes:
    if size > _LARGEST_EXTENSION:
        raise Malformed(f"a header of {size} bytes is none")
    content = _exactly(stream, size)
    _exactly(stream, -size % BLOCK)
    return content


def _pax(content: bytes) -> dict[str, str]:
    """``LENGTH key=value`` and a newline, again and again."""
    found: dict[str, str] = {}
    while content.rstrip(b"\0"):
        digits, space, _ = content.partition(b" ")
        if not space or not digits.isdigit() or len(digits) > 8:
            raise Malformed("a pax header of the archive is none")
        length = int(digits)
        record = content[len(digits) + 1 : length]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals or not record.endswith(b"\n") or length > len(content):
            raise Malformed("a pax header of the archive is none")
        if key in {b"path", b"linkpath", b"size"} or key.startswith(b"GNU.sparse"):
            found[_decoded(key)] = _decoded(value)
        content = content[length:]
    return found
