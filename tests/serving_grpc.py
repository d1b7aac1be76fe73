"""Calls of gRPC, as a client makes them that has the protocol's files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from modeldeploy.serving.protocols.grpc_messages import Messages

MESSAGES = Messages()
INFER = MESSAGES.classes["inference.ModelInferRequest"]
ANSWER = MESSAGES.classes["inference.ModelInferResponse"]
ALONE = [("grpc.use_local_subchannel_pool", 1)]
"""Options of a channel that shares no connection with others."""


class Stub:
    """Calls by name, as a client with the protocol's files would make them."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def call(self, method: str, of: str = "inference.GRPCInferenceService", /, **fields: Any) -> Any:
        package, name = of.rpartition(".")[0], "HealthCheck" if "Health" in of else method
        unary = self.channel.unary_unary(
            f"/{of}/{method}",
            request_serializer=MESSAGES.classes[f"{package}.{name}Request"].SerializeToString,
            response_deserializer=MESSAGES.classes[f"{package}.{name}Response"].FromString,
        )
        return unary(MESSAGES.classes[f"{package}.{name}Request"](**fields), timeout=20)

    def infer(self, asked: Any, **options: Any) -> Any:
        unary = self.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        return ANSWER.FromString(unary(asked.SerializeToString(), **{"timeout": 20, **options}))

    def future(self, asked: Any, **options: Any) -> Any:
        unary = self.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        return unary.future(asked.SerializeToString(), **{"timeout": 20, **options})


def image(value: float, rows: int = 1) -> Any:
    asked = INFER(model_name="digits")
    asked.inputs.add(name="image", datatype="FP32", shape=[rows, 64])
    asked.raw_input_contents.append(np.full((rows, 64), value, np.float32).tobytes())
    return asked


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as failed:
        call()
    code: grpc.StatusCode = failed.value.code()
    return code
