"""Which form a body has, and which form its answer is wanted in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..exchange import JSON, Request, Response
from ..problems import Problem, UnsupportedEncoding, UnsupportedMedia
from ..runtimes.base import Value
from .base import Asked
from .predict import refusal

Reader = Callable[[Request], Asked]
Writer = Callable[[Asked, Mapping[str, Value]], Response]

AS_JSON = ("", JSON, "text/json", "text/plain", "application/x-www-form-urlencoded")
"""Content types that mean JSON: what `curl -d`, `fetch` and urllib say when they are told nothing."""


class Negotiated:
    """The codec of a path that reads and writes several forms, by Content-Type and Accept.

    An answer that is wanted in a form we do not write comes as JSON; a refusal always does.
    """

    def __init__(
        self,
        read: Reader,
        write: Writer,
        readers: Mapping[str, Reader],
        writers: Mapping[str, Callable[[Request], Writer]],
    ) -> None:
        """``read`` and ``write`` are those of JSON; a writer is chosen for the request that wants it."""
        self._readers = {**dict.fromkeys(AS_JSON, read), **readers}
        self._writers = writers
        self._write = write

    def read(self, request: Request) -> Asked:
        headers = request.headers
        reader = self._readers.get(headers.get("content-type", ""))
        if reader is None or "content-encoding" in headers:
            reader = self._readers[media_type(request, self._readers)]
        asked = reader(request)
        accept = headers.get("accept", "*/*")
        if accept not in ("*/*", JSON):
            asked.context = self._wanted(accept, request) or asked.context
        return asked

    def write(self, asked: Asked, outputs: Mapping[str, Value]) -> Response:
        return (asked.context or self._write)(asked, outputs)

    def refuse(self, problem: Problem) -> Response:
        return refusal(problem)

    def _wanted(self, accept: str, request: Request) -> Writer | None:
        """The writer of the first form that is accepted and known; None for JSON."""
        for wanted in accepted(accept):
            if wanted in self._writers:
                return self._writers[wanted](request)
            if wanted in (JSON, "*/*", "application/*"):
                return None
        return None


def media_type(request: Request, known: Mapping[str, object]) -> str:
    """The one of ``known`` that the request's Content-Type is. Raises `UnsupportedMedia`."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedEncoding(
            "a compressed body is not read here",
            expected="identity, or no Content-Encoding",
            got=coding[:100],
        )
    told = request.headers.get("content-type", "")
    kind, _, parameters = told.partition(";")
    kind = kind.strip().lower()
    if kind.endswith("+json"):
        kind = JSON
    charset = dict(_parameters(parameters)).get("charset", "utf-8").lower()
    if kind not in known or charset not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMedia(
            "this content type is not read here",
            expected=", ".join(name for name in known if name not in AS_JSON or name == JSON) + " in UTF-8",
            got=told[:100],
        )
    return kind


def accepted(header: str) -> list[str]:
    """The media types in an Accept header, those that are wanted most first."""
    ranked: list[tuple[float, str]] = []
    for part in header.split(","):
        kind, _, parameters = part.partition(";")
        weight = _weight(dict(_parameters(parameters)).get("q", "1"))
        if weight > 0:
            ranked.append((-weight, kind.strip().lower()))
    return [kind for _, kind in sorted(ranked, key=lambda entry: entry[0])]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _parameters(text: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in text.split(";") if part.strip())
    return [(name.strip().lower(), value.strip().strip('"')) for name, _, value in pairs]
