"""``POST /predict``: an object with each input by its name as nested lists, answered by one with each output.

A batch, or one sample without its batch dimension, whose answer comes without it, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..engine.batch import Rows
from ..exchange import Request, Response
from ..problems import Overloaded, Problem, UnsupportedEncoding
from ..runtimes.base import Value
from ..spec import ServiceSpec
from ..tensors.encode import write_answer
from ..tensors.validate import RequestReader
from .base import Asked
from .signature import Unbatcher


class NamedJson:
    """The codec of named fields in JSON."""

    def __init__(self, spec: ServiceSpec) -> None:
        self._reader = RequestReader(spec.inputs)
        self._rows = Rows(spec.inputs)
        self._as_asked = Unbatcher(spec)

    def read(self, request: Request) -> Asked:
        body = request.body
        inputs = self._reader.read(body if isinstance(body, bytes) else bytes(body))
        return Asked(inputs.arrays, self._rows(inputs.arrays), inputs.single)

    def write(self, asked: Asked, outputs: Mapping[str, Value]) -> Response:
        if asked.single:
            outputs = {name: self._as_asked(asked, value, name) for name, value in outputs.items()}
        return Response(200, write_answer(outputs))

    def refuse(self, problem: Problem) -> Response:
        return refusal(problem)


def refusal(problem: Problem) -> Response:
    """A problem as ``{"error", "field", "expected", "got"}``."""
    return Response(problem.status, json.dumps(problem.as_json()).encode(), headers=retry(problem))


def retry(problem: Problem) -> tuple[tuple[str, str], ...]:
    """The header that says when to come back, or in which encoding, where that makes sense."""
    if isinstance(problem, UnsupportedEncoding):
        return (("accept-encoding", "identity"),)
    return (("retry-after", str(problem.retry_after)),) if isinstance(problem, Overloaded) else ()
