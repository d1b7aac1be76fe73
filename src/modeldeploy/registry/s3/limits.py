"""A limit on answers that the library of S3 reads as a whole: it has none, and an answer may not end."""

from __future__ import annotations

from typing import Any

from modeldeploy.registry.s3 import faults

LARGEST_LIST = 16 << 20
"""Bytes. A page of a list has 1000 entries, each with a key of 1024 bytes at most."""
_PIECE = 1 << 16


def limit(client: Any, where: str) -> None:
    """From now on the client refuses answers that are too large, as far as they are not streams."""
    session = client._endpoint.http_session  # noqa: SLF001 - there is no public way to it
    send = session.send

    def limited(request: Any) -> Any:
        wants_stream, request.stream_output = request.stream_output, True
        answer = send(request)
        if not wants_stream:
            answer._content = _whole(answer.raw, where)  # noqa: SLF001 - where `content` looks first
        return answer

    session.send = limited


def _whole(raw: Any, where: str) -> bytes:
    pieces, size = [], 0
    for piece in raw.stream(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_LIST:
            raw.close()
            raise faults.nonsense(where, f"more than {LARGEST_LIST} bytes, which no list has")
    return b"".join(pieces)
