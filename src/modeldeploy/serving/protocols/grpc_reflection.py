"""gRPC's server reflection: by it, tools like grpcurl speak to a service whose files they do not have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from .grpc_messages import Messages, file_name

_NOT_FOUND = 5
_UNIMPLEMENTED = 12


Reflected = Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]
"""The handler of a call that answers each message with one."""


def reflected(messages: Messages, service: str) -> Reflected:
    """``ServerReflectionInfo`` of one of the two versions of the reflection service."""
    package = service.rpartition(".")[0]
    parse = messages.parser(f"{package}.ServerReflectionRequest")
    answer = messages.classes[f"{package}.ServerReflectionResponse"]

    async def info(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:  # noqa: ARG001  # gRPC's signature
        async for body in requests:
            asked = parse(body)
            told = answer(valid_host=asked.host, original_request=asked, **_told(messages, asked))
            yield told.SerializeToString()

    return info


def _told(messages: Messages, asked: Any) -> dict[str, Any]:
    kind = asked.WhichOneof("message_request")
    if kind == "list_services":
        return {"list_services_response": {"service": [{"name": name} for name in messages.files]}}
    if kind == "file_by_filename":
        found = next((name for name in messages.files if file_name(name) == asked.file_by_filename), None)
    elif kind == "file_containing_symbol":
        found = messages.service_of(asked.file_containing_symbol)
    else:
        return _error(_UNIMPLEMENTED, "messages of this service have no extensions")
    if found is None:
        return _error(_NOT_FOUND, "there is no such file or symbol")
    return {"file_descriptor_response": {"file_descriptor_proto": [messages.files[found]]}}


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error_response": {"error_code": code, "error_message": message}}
