"""Answers as bytes: status line, headers, the date of the second."""

from __future__ import annotations

import json
import re
import time
from http import HTTPStatus

from ..exchange import Response
from ..problems import Problem

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+: [\t -~\x80-\xff]*")
_BODILESS = frozenset({204, 304})
_CLOSE = b"\r\nconnection: close\r\n\r\n"
_KEEP = b"\r\n\r\n"


class Answers:
    """Writes the heads of answers. `tick` once a second keeps the date right."""

    __slots__ = ("_begins", "date")

    def __init__(self) -> None:
        self._begins: dict[tuple[int, str], bytes] = {}
        self.date = b""
        self.tick()

    def tick(self) -> None:
        """Take the time of now."""
        self.date = http_date(time.time())
        self._begins.clear()

    def head(self, response: Response, request_id: bytes, *, close: bool) -> bytes:
        """Everything before the body. Raises ValueError for a header that would break the message."""
        status = response.status
        begin = self._begins.get((status, response.media_type))
        if begin is None:
            begin = self._begins[status, response.media_type] = self._begin(status, response.media_type)
        end = _CLOSE if close else _KEEP
        if response.headers:
            end = "".join(f"\r\n{checked(*header)}" for header in response.headers).encode("latin-1") + end
        if status in _BODILESS:
            return begin + request_id + end
        return b"%b%b\r\ncontent-length: %d%b" % (begin, request_id, len(response.body), end)

    def _begin(self, status: int, media_type: str) -> bytes:
        kind = checked("content-type", media_type) + "\r\n" if media_type else ""
        text = f"HTTP/1.1 {status} {phrase(status)}\r\n{kind}date: {self.date.decode()}\r\nx-request-id: "
        return text.encode("latin-1")


def phrase(status: int) -> str:
    """What stands beside a status; "" for one that nobody has defined."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def checked(name: str, value: str) -> str:
    """A header line without its end. Raises ValueError where it would be more than one line."""
    line = f"{name}: {value}"
    if not _HEADER.fullmatch(line):
        raise ValueError(f"this cannot be a header: {line!r}")
    return line


def http_date(seconds: float) -> bytes:
    """A time as HTTP writes it: ``Sun, 06 Nov 1994 08:49:37 GMT``."""
    at = time.gmtime(seconds)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    return (
        f"{day}, {at.tm_mday:02d} {month} {at.tm_year:04d} "
        f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} GMT"
    ).encode()


def refusal(status: int, error: str, *, expected: str = "", got: str = "") -> Response:
    """The answer to a request that no handler gets to see, in the form of every other `Problem`."""
    problem = Problem(error, expected=expected, got=got)
    return Response(status, json.dumps(problem.as_json()).encode())


def failure(request_id: str) -> Response:
    """The answer where a handler raised. What it raised is for the log alone."""
    return refusal(500, "the service failed on this request; its log says why", got=f"request {request_id}")


def too_large(most: int) -> Response:
    """The answer to a body that is larger than its route takes."""
    return refusal(413, f"the body is larger than {most} bytes", expected=f"{most} bytes at most")


def no_room() -> Response:
    """The answer to a body that would be one too many at the same time."""
    answer = refusal(503, "too many large bodies are being read at once", expected="a retry in a moment")
    answer.headers = (("retry-after", "1"),)
    return answer


def refused_method(method: str, path: str, allowed: tuple[str, ...]) -> Response:
    """The answer to a method that a path does not have. What has GET has HEAD, too."""
    if "GET" in allowed and "HEAD" not in allowed:
        allowed = tuple(sorted((*allowed, "HEAD")))
    answer = refusal(405, f"{path} does not take {method}", expected=" or ".join(allowed), got=method)
    answer.headers = (("allow", ", ".join(allowed)),)
    return answer
