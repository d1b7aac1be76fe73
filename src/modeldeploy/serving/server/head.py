"""The head of an HTTP/1.1 request, recognised from its bytes if it is of the plain, strict form.

The form leaves out everything that two readers could take differently: two regular expressions say what
the lines of a head may be, and a few rules on top say which headers make a request somebody else's. What
is accepted here means the same to llhttp (a test compares the two); what is not accepted may still be a
good request (chunked, ``Expect``, an upgrade, HTTP/1.0), and goes to a parser that knows all of HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

MAX_HEAD = 64 * 1024
"""Bytes of a head; longer ones are answered with 431."""
END = b"\r\n\r\n"

_PATH = rb"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*"  # no percent sign: such a path has several spellings
_QUERY = rb"[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*"
_START = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (%b)(?:\?(%b))? HTTP/1\.1" % (_PATH, _QUERY))
_LINE = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*([\t -~\x80-\xff]*)")
_LENGTH = re.compile(r"0|[1-9][0-9]{0,14}")
_ID = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?")
_NOT_OURS = frozenset({"transfer-encoding", "expect", "trailer", "proxy-connection"})
"""Headers that change how a message is read, or what comes after it."""
_ONCE = frozenset({"content-length", "host", "connection", "content-type"})
"""Headers that two of make a request ambiguous."""
_LONGEST = 1024
"""Bytes of what is remembered."""
_UNIQUE = frozenset({"x-request-id", "traceparent"})
"""Headers that no two requests share: their heads do not come again."""


@dataclass(slots=True)  # not frozen, which would take twice as long: one is made for most requests
class Head:
    """What a head says. Shared between the requests that begin with the same bytes: never changed."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """Names in lower case; of several with one name, the values are joined by ", "."""
    length: int
    """Bytes of the body that follows."""
    close: bool
    """The client wants no further answers on this connection."""
    request_id: bytes | None
    """``x-request-id``, if it is fit to be sent back and to stand in a log."""


def accepted_id(text: str) -> bytes | None:
    """A client's id for its request, if it is 1 to 128 characters of printable ASCII."""
    return text.encode() if _ID.fullmatch(text) else None


class Heads:
    """Reads heads, and remembers them and their lines: clients say the same again and again.

    A proxy gives each request an id of its own, so that no two heads are alike, but most of their lines
    are. What is remembered is bounded, and forgotten as a whole when it is full.
    """

    __slots__ = ("_known", "_lines", "_starts")

    _MOST = 256
    _MOST_LINES = 1024

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self._starts: dict[bytes, tuple[str, str, str]] = {}
        self._lines: dict[bytes, tuple[str, str]] = {}

    def read(self, head: bytes) -> Head | None:
        """The head in these bytes, its empty line included; None if it is not of the strict form."""
        found = self._known.get(head)
        if found is None:
            found = self._read(head)
            if found is not None and _UNIQUE.isdisjoint(found.headers):
                _remember(self._known, head, found, self._MOST)
        return found

    def _read(self, head: bytes) -> Head | None:
        first, *lines = head.split(b"\r\n")
        start = self._starts.get(first) or self._read_start(first)
        if start is None or lines[-2:] != [b"", b""]:
            return None
        headers = self._headers(lines[:-2])
        if headers is None or "host" not in headers or not _NOT_OURS.isdisjoint(headers):
            return None
        connection = headers.get("connection", "keep-alive").lower()
        length = headers.get("content-length", "0")
        if connection not in _connections(headers) or not _LENGTH.fullmatch(length):
            return None
        request_id = accepted_id(headers["x-request-id"]) if "x-request-id" in headers else None
        return Head(*start, headers, int(length), connection == "close", request_id)

    def _headers(self, lines: list[bytes]) -> dict[str, str] | None:
        """Headers by name; None if one is none, or is there twice that must not be."""
        headers: dict[str, str] = {}
        for line in lines:
            header = self._lines.get(line) or self._read_line(line)
            if header is None:
                return None
            name, value = header
            if name in headers:
                if name in _ONCE:
                    return None
                value = f"{headers[name]}, {value}"
            headers[name] = value
        return headers

    def _read_start(self, line: bytes) -> tuple[str, str, str] | None:
        """Method, path and query."""
        match = _START.fullmatch(line)
        if match is None:
            return None
        method, path, query = match.groups(b"")
        start = (method.decode(), path.decode(), query.decode())
        _remember(self._starts, line, start, self._MOST)
        return start

    def _read_line(self, line: bytes) -> tuple[str, str] | None:
        """Name and value."""
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        header = (match[1].decode().lower(), match[2].decode("latin-1").rstrip(" \t"))
        if header[0] not in _UNIQUE:
            _remember(self._lines, line, header, self._MOST_LINES)
        return header


def _connections(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What ``connection`` may say.

    Java's client offers HTTP/2 with every request, body and all, until somebody takes it: we go on with
    HTTP/1.1, as we may. The other parser would lose the body. Other upgrades are for it to judge.
    """
    if "upgrade" not in headers:
        return ("keep-alive", "close")
    return ("upgrade, http2-settings",) if headers["upgrade"].lower() == "h2c" else ()


def _remember(known: dict[bytes, T], key: bytes, value: T, most: int) -> None:
    if len(key) > _LONGEST:
        return
    if len(known) >= most:
        known.clear()
    known[key] = value
