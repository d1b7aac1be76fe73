"""Bodies of requests to a user's methods, and their answers, byte for byte BentoML's own form.

BentoML works out much of it anew for each request (the schema of the answer, the method's signature); here
it is worked out once, when the service starts. What it says of bad input, and how it says it, is the same:
the same models of pydantic read and write.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from ..exchange import JSON, Response

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and named ones, of a user's method."""

FAILED = {"error": "An unexpected error has occurred, please check the server log."}


class Unusual(Exception):
    """An output that BentoML makes an answer of by more than serialising it: a file, an image, a stream."""

    def __init__(self, output: object) -> None:
        super().__init__("an output that BentoML has to write")
        self.output = output


def reader(spec: Any) -> Callable[[bytes], Arguments]:
    """How a request's body becomes the method's arguments. ``spec`` is the `input_spec` of an API method.

    What it gives raises pydantic's ValidationError, as BentoML's does, and ValueError where the body of
    an argument without a name is no JSON.
    """
    from _bentoml_sdk.io_models import ARGS, KWARGS, IORootModel

    if getattr(spec, "__root_input__", False):
        return _root_reader(spec, IORootModel)
    names = tuple(spec.model_fields)

    def read(body: bytes) -> Arguments:
        given = spec.model_validate_json(body or b"{}")
        return (), {name: getattr(given, name) for name in names}

    if not {ARGS, KWARGS} & set(names):
        return read

    def read_open(body: bytes) -> Arguments:
        _, named = read(body)
        args = (named.pop(ARGS),) if ARGS in named else ()
        if KWARGS in named:
            named.update(named.pop(KWARGS))
        return args, named

    return read_open


def _root_reader(spec: Any, root_model: type) -> Callable[[bytes], Arguments]:
    """For ``def method(self, value, /)``: the whole body is the argument."""
    if not issubclass(spec, root_model):
        return lambda body: ((spec.model_validate_json(body or b"{}"),), {})
    if spec.model_json_schema().get("type") in {"string", "file"}:
        return lambda body: ((spec.model_validate(body or b"{}").root,), {})
    return lambda body: ((spec.model_validate(json.loads(body or b"{}")).root,), {})


def writer(spec: Any) -> Callable[[object], Response]:
    """How a method's output becomes the answer. ``spec`` is the `output_spec` of an API method.

    What it gives raises `Unusual`, and whatever the output's own type raises.
    """
    from _bentoml_sdk.io_models import IORootModel
    from pydantic_core import to_json
    from starlette.responses import Response as Ready

    media_type = with_charset(spec.mime_type())
    if not issubclass(spec, IORootModel):

        def write(output: Any) -> Response:
            _usual(output, Ready)
            left_out = set(getattr(output, "multipart_fields", ()))
            return Response(200, output.model_dump_json(exclude=left_out).encode(), media_type)

        return write

    def write_root(output: Any) -> Response:
        _usual(output, Ready)
        kept = output if isinstance(output, IORootModel) else spec(output)
        rendered = kept.model_dump()
        if isinstance(rendered, str):
            return Response(200, rendered.encode(), media_type)
        if isinstance(rendered, bytes):
            return Response(200, rendered, media_type)
        plain = kept.model_dump(mode="json", exclude=set(getattr(kept, "multipart_fields", ())))
        try:
            body = to_json(plain, inf_nan_mode="constants")
        except Exception:  # noqa: BLE001  # what pydantic cannot write json may: half of a surrogate pair
            body = json.dumps(plain).encode()
        return Response(200, body, media_type)

    return write_root


_unusual: dict[type, bool] = {}


def _usual(output: object, ready: type) -> None:
    """Raises `Unusual` for what is no value to serialise."""
    kind = type(output)
    odd = _unusual.get(kind)
    if odd is None:
        odd = _unusual[kind] = (
            issubclass(kind, (ready, PurePath))
            or inspect.isgenerator(output)
            or inspect.isasyncgen(output)
            or any(base.__module__.startswith("PIL.") for base in kind.__mro__)
        )
    if odd:
        raise Unusual(output)


def with_charset(media_type: str) -> str:
    """A content type as Starlette writes it."""
    if media_type.startswith("text/") and "charset=" not in media_type.lower():
        return f"{media_type}; charset=utf-8"
    return media_type


def refusal(error: BaseException) -> Response:
    """The answer in place of an output: what BentoML says of this exception, with its status."""
    from bentoml.exceptions import BentoMLException
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        told: object = {
            "error": f"{error.error_count()} validation error for {error.title}",
            "detail": error.errors(include_context=False, include_input=False),
        }
        return _json(400, told)
    if not isinstance(error, BentoMLException):
        return _json(500, FAILED)
    status = error.error_code.value
    if status in {401, 403}:
        return _json(status, {"error": "Authorization error"})
    # A list of one: BentoML 1.4 has a comma too many there, and clients may have got used to it.
    return _json(status, FAILED if status >= 500 else [{"error": str(error)}])


def _json(status: int, told: object) -> Response:
    try:
        body = json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:  # half of a surrogate pair in a name, say
        return Response(500, b"Internal Server Error", "text/plain; charset=utf-8")
    return Response(status, body, JSON)


def media_type_of(headers: Mapping[str, str]) -> str:
    """What BentoML takes a request's body for."""
    return headers.get("content-type", JSON).split(";")[0].strip()
