"""The messages and services that gRPC clients speak with us, made from a table at start: no generated files.

They are the Open Inference Protocol's (package ``inference``), those of gRPC's health checks and those of its
reflection. The classes live in a pool of their own, so that a client in the same process may have its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..problems import BadInput

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1.ServerReflection"
REFLECTION_ALPHA = "grpc.reflection.v1alpha.ServerReflection"

_PARAMETERS = "parameters:map(InferParameter)=4"
_INFERENCE = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live:bool=1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready:bool=1",
    "ModelReadyRequest": "name:string=1 version:string=2",
    "ModelReadyResponse": "ready:bool=1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name:string=1 version:string=2 extensions:string*=3",
    "ModelMetadataRequest": "name:string=1 version:string=2",
    "ModelMetadataResponse": (
        "name:string=1 versions:string*=2 platform:string=3"
        " inputs:ModelMetadataResponse.TensorMetadata*=4 outputs:ModelMetadataResponse.TensorMetadata*=5"
    ),
    "ModelMetadataResponse.TensorMetadata": "name:string=1 datatype:string=2 shape:int64*=3",
    "RepositoryIndexRequest": "repository_name:string=1 ready:bool=2",
    "RepositoryIndexResponse": "models:RepositoryIndexResponse.ModelIndex*=1",
    "RepositoryIndexResponse.ModelIndex": "name:string=1 version:string=2 state:string=3 reason:string=4",
    "InferParameter": (
        "parameter_choice|bool_param:bool=1 parameter_choice|int64_param:int64=2"
        " parameter_choice|string_param:string=3 parameter_choice|double_param:double=4"
        " parameter_choice|uint64_param:uint64=5"
    ),
    "InferTensorContents": (
        "bool_contents:bool*=1 int_contents:int32*=2 int64_contents:int64*=3 uint_contents:uint32*=4"
        " uint64_contents:uint64*=5 fp32_contents:float*=6 fp64_contents:double*=7 bytes_contents:bytes*=8"
    ),
    "ModelInferRequest": (
        f"model_name:string=1 model_version:string=2 id:string=3 {_PARAMETERS}"
        " inputs:ModelInferRequest.InferInputTensor*=5"
        " outputs:ModelInferRequest.InferRequestedOutputTensor*=6 raw_input_contents:bytes*=7"
    ),
    "ModelInferRequest.InferInputTensor": (
        f"name:string=1 datatype:string=2 shape:int64*=3 {_PARAMETERS} contents:InferTensorContents=5"
    ),
    "ModelInferRequest.InferRequestedOutputTensor": "name:string=1 parameters:map(InferParameter)=2",
    "ModelInferResponse": (
        f"model_name:string=1 model_version:string=2 id:string=3 {_PARAMETERS}"
        " outputs:ModelInferResponse.InferOutputTensor*=5 raw_output_contents:bytes*=6"
    ),
    "ModelInferResponse.InferOutputTensor": (
        f"name:string=1 datatype:string=2 shape:int64*=3 {_PARAMETERS} contents:InferTensorContents=5"
    ),
}
_HEALTH = {
    "HealthCheckRequest": "service:string=1",
    "HealthCheckResponse": "status:HealthCheckResponse.ServingStatus=1",
    "HealthCheckResponse.ServingStatus": "enum UNKNOWN SERVING NOT_SERVING SERVICE_UNKNOWN",
}
_REFLECTION = {
    "ServerReflectionRequest": (
        "host:string=1 message_request|file_by_filename:string=3"
        " message_request|file_containing_symbol:string=4"
        " message_request|file_containing_extension:ExtensionRequest=5"
        " message_request|all_extension_numbers_of_type:string=6 message_request|list_services:string=7"
    ),
    "ExtensionRequest": "containing_type:string=1 extension_number:int32=2",
    "ServerReflectionResponse": (
        "valid_host:string=1 original_request:ServerReflectionRequest=2"
        " message_response|file_descriptor_response:FileDescriptorResponse=4"
        " message_response|all_extension_numbers_response:ExtensionNumberResponse=5"
        " message_response|list_services_response:ListServiceResponse=6"
        " message_response|error_response:ErrorResponse=7"
    ),
    "FileDescriptorResponse": "file_descriptor_proto:bytes*=1",
    "ExtensionNumberResponse": "base_type_name:string=1 extension_number:int32*=2",
    "ListServiceResponse": "service:ServiceResponse*=1",
    "ServiceResponse": "name:string=1",
    "ErrorResponse": "error_code:int32=1 error_message:string=2",
}
_FILES: Mapping[str, tuple[Mapping[str, str], str]] = {
    INFERENCE: (
        _INFERENCE,
        "ServerLive ServerReady ModelReady ServerMetadata ModelMetadata RepositoryIndex ModelInfer",
    ),
    HEALTH: (_HEALTH, "Check:HealthCheck Watch:HealthCheck>"),
    REFLECTION: (_REFLECTION, "<ServerReflectionInfo:ServerReflection>"),
    REFLECTION_ALPHA: (_REFLECTION, "<ServerReflectionInfo:ServerReflection>"),
}
"""Per service: the messages of its file, and its methods; ``Name:Prefix`` where the messages are not named
after the method, ``>`` where the answer is a stream, ``<`` where the request is one."""
_FIELD = re.compile(r"(?:(\w+)\|)?(\w+):(map\()?([\w.]+)\)?(\*)?=(\d+)")


class Messages:
    """Every message class by its full name, e.g. ``inference.ModelInferRequest``, and the files' bytes."""

    def __init__(self) -> None:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

        pool = descriptor_pool.DescriptorPool()
        self.files: dict[str, bytes] = {}
        """The descriptor of each service's file, serialized, by the service's name."""
        self._pool = pool
        self.classes: dict[str, Any] = {}
        for service, (messages, methods) in _FILES.items():
            file = _file(descriptor_pb2, service, messages, methods)
            self.files[service] = file.SerializeToString()
            pool.AddSerializedFile(self.files[service])
            for name, fields in messages.items():
                if not fields.startswith("enum "):
                    found = pool.FindMessageTypeByName(f"{file.package}.{name}")
                    self.classes[found.full_name] = message_factory.GetMessageClass(found)

    def parser(self, name: str) -> Callable[[Any], Any]:
        """Reads serialized messages of this name. It raises `BadInput` for bytes that are none."""
        from google.protobuf.message import DecodeError

        read = self.classes[name].FromString

        def parse(body: Any) -> Any:
            try:
                return read(bytes(body))
            except DecodeError:
                short = name.rpartition(".")[2]
                raise BadInput(f"the body is no {short}", expected=name, got=f"{len(body)} bytes") from None

        return parse

    def service_of(self, symbol: str) -> str | None:
        """The service whose file has a message, a service or a method of this full name; None if none has."""
        for name in (symbol, symbol.rpartition(".")[0]):  # a method is found by its service
            try:
                file = self._pool.FindFileContainingSymbol(name)
            except KeyError:
                continue
            return next(service for service in self.files if file.name == file_name(service))
        return None


def file_name(service: str) -> str:
    """The name that a service's file goes by."""
    return f"{service.replace('.', '/')}.proto"


def _file(pb: Any, service: str, messages: Mapping[str, str], methods: str) -> Any:
    package, _, name = service.rpartition(".")
    file = pb.FileDescriptorProto(name=file_name(service), package=package, syntax="proto3")
    made: dict[str, Any] = {}
    for message, fields in messages.items():
        outer, _, inner = message.rpartition(".")
        if fields.startswith("enum "):
            _add_enum(made[outer], inner, fields)
            continue
        made[message] = (made[outer].nested_type if outer else file.message_type).add(name=inner)
        for match in _FIELD.finditer(fields):
            _add_field(pb, made[message], f".{package}.", messages, match)
    _add_service(file, name, f".{package}.", methods)
    return file


def _add_field(
    pb: Any, message: Any, package: str, messages: Mapping[str, str], match: re.Match[str]
) -> None:
    choice, name, is_map, kind, repeated, number = match.groups()
    numbers = pb.FieldDescriptorProto
    field = message.field.add(name=name, number=int(number))
    field.label = numbers.LABEL_REPEATED if repeated or is_map else numbers.LABEL_OPTIONAL
    if is_map:
        entry = _add_entry(pb, message, name, package + kind)
        field.type = numbers.TYPE_MESSAGE
        field.type_name = f"{package}{_path(message, messages)}.{entry}"
    elif kind in messages:
        is_enum = messages[kind].startswith("enum ")
        field.type = numbers.TYPE_ENUM if is_enum else numbers.TYPE_MESSAGE
        field.type_name = package + kind
    else:
        field.type = numbers.Type.Value(f"TYPE_{kind.upper()}")
    if choice:
        if not message.oneof_decl:
            message.oneof_decl.add(name=choice)
        field.oneof_index = 0


def _add_entry(pb: Any, message: Any, name: str, kind: str) -> str:
    """The message of a map's entries, from texts to messages of this kind; its name."""
    numbers = pb.FieldDescriptorProto
    entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=numbers.TYPE_STRING, label=numbers.LABEL_OPTIONAL)
    value = entry.field.add(name="value", number=2, label=numbers.LABEL_OPTIONAL)
    value.type, value.type_name = numbers.TYPE_MESSAGE, kind
    return str(entry.name)


def _path(message: Any, messages: Mapping[str, str]) -> str:
    """The name of a message with those it stands in; every message's own name is unique in its file."""
    return next(name for name in messages if name.rpartition(".")[2] == message.name)


def _add_enum(message: Any, name: str, names: str) -> None:
    enum = message.enum_type.add(name=name)
    for number, value in enumerate(names.split()[1:]):
        enum.value.add(name=value, number=number)


def _add_service(file: Any, name: str, package: str, methods: str) -> None:
    service = file.service.add(name=name)
    for entry in methods.split():
        method, _, prefix = entry.strip("<>").partition(":")
        service.method.add(
            name=method,
            input_type=f"{package}{prefix or method}Request",
            output_type=f"{package}{prefix or method}Response",
            client_streaming=entry.startswith("<"),
            server_streaming=entry.endswith(">"),
        )
