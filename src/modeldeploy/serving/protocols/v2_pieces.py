"""Long data in the JSON of a V2 request, taken out of it before it is parsed, to be read in pieces."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ..tensors.pieces import LARGE

_MARK = os.urandom(16).hex()
"""Stands for what was taken out, with its number; nobody else can write it."""


@dataclass(frozen=True, slots=True)
class Text:
    """The JSON text of a tensor's data, without quotes in it; not looked at yet."""

    text: bytes


def taken_out(head: bytes) -> tuple[bytes, list[bytes]]:
    """The JSON with marks in the place of long values that are called "data", and those values."""
    if b"\\" in head:  # a quote may be part of a text
        return head, []
    parts = head.split(b'"')
    texts: list[bytes] = []
    for place in range(2, len(parts), 2):
        part = parts[place]
        if len(part) > LARGE and parts[place - 1] == b"data" and part.lstrip()[:1] == b":":
            end = part.find(b"}") if b"}" in part else part.rfind(b",")
            begin = part.index(b":") + 1
            if end > begin:
                parts[place] = b':"%b%d"%b' % (_MARK.encode(), len(texts), part[end:])
                texts.append(part[begin:end])
    return (b'"'.join(parts), texts) if texts else (head, texts)


def put_back(fields: dict[str, Any], texts: list[bytes]) -> bool:
    """Have the inputs hold, as `Text`, what was taken out; False if something of it was in another place."""
    found = 0
    inputs = fields.get("inputs")
    for entry in inputs if isinstance(inputs, list) else ():
        data = entry.get("data") if isinstance(entry, dict) else None
        if isinstance(data, str) and data.startswith(_MARK):
            entry["data"] = Text(texts[int(data.removeprefix(_MARK))])
            found += 1
    return found == len(texts)
