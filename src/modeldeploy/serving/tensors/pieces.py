"""Reading large bodies of numbers piece by piece.

One call that parses forty megabytes keeps every other thread of the process waiting, the event loop's with
its health checks, and makes a Python object of each number at once. So the brackets are looked at apart: if
they are those of an array, what remains is one long list, and that may be cut at any comma.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

_Array = npt.NDArray[Any]
LARGE = 256 * 1024
"""Bytes of JSON or CSV that take some 3 ms to read: longer ones are not read on the event loop."""
_PIECE = 256 * 1024
"""Bytes that are parsed at once: a few milliseconds."""
_DEEPEST = 32
_BLANK = b" \t\r\n"
_NUMBER = b"0123456789+-.eE"
_BRACKETS_AS_BLANKS = bytes.maketrans(b"[]", b"  ")
_NUMBERS_AS_ZEROS = bytes.maketrans(_NUMBER, b"0" * len(_NUMBER))


def texts_of(body: bytes | bytearray, names: Sequence[str]) -> dict[str, bytes] | None:
    """The text of each value in a JSON object with just these names; None where it is not that plain.

    The texts may still be anything without quotes.
    """
    parts = bytes(body).split(b'"')
    if len(parts) != 2 * len(names) + 1 or parts[0].strip(_BLANK) != b"{":
        return None
    known = {name.encode(): name for name in names}
    texts: dict[str, bytes] = {}
    for place in range(1, len(parts), 2):
        text = parts[place + 1].strip(_BLANK)
        end = b"}" if place == len(parts) - 2 else b","
        if text[:1] != b":" or text[-1:] != end or parts[place] not in known:
            return None
        texts[known[parts[place]]] = text[1:-1]
    return texts if len(texts) == len(names) else None


def read_numbers(text: bytes, convert: Callable[[object], _Array | None]) -> _Array | None:
    """The array in the text of nested lists of numbers, or of one number; None if there is anything else.

    ``convert`` makes an array of a list of numbers, or None. Raises ValueError for what is no JSON.
    """
    shape = _shape_of(text.translate(None, _NUMBER + _BLANK))
    if shape is None:
        return None
    arrays: list[_Array] = []
    for piece in _pieces(text):
        if _is_misplaced(piece):
            return None
        array = convert(orjson.loads(b"[%b]" % piece.translate(_BRACKETS_AS_BLANKS)))
        if array is None or not array.size:
            return None
        arrays.append(array)
    return np.concatenate(arrays).reshape(shape)  # as many as the commas say, or it raises


def _pieces(text: bytes) -> Iterator[bytes]:
    """Cut at commas; those between two pieces are dropped."""
    at = 0
    while at >= 0:
        end = text.find(b",", at + _PIECE)
        yield text[at:] if end < 0 else text[at:end]
        at = end + 1 if end >= 0 else -1


def _is_misplaced(piece: bytes) -> bool:
    """True if a number is not between the brackets that open before it and those that close after it."""
    form = piece.translate(_NUMBERS_AS_ZEROS, _BLANK)
    return b"0[" in form or b"]0" in form


def _shape_of(form: bytes) -> tuple[int, ...] | None:
    """The shape of nested lists, told by their brackets and commas; None if they are no array's."""
    depth = len(form) - len(form.lstrip(b"["))
    if depth > _DEEPEST:
        return None
    shape: tuple[int, ...] = ()
    inner = b""
    for level in range(1, depth + 1):
        end = form.find(b"]" * level)
        outer = form[depth - level : end + level]
        size = (len(outer) - 1) // (len(inner) + 1)
        if end < 0 or outer != b"[%b]" % b",".join([inner] * size):
            return None
        shape, inner = (size, *shape), outer
    return shape if inner == form else None
