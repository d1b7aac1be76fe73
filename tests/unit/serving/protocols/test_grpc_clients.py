"""A worker that speaks gRPC, asked by the programs that people ask with."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving_bundle import VERSION, grpc_address, plain_bundle, started
from serving_place import TEMPLATE

pytestmark = pytest.mark.story


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    bundle = plain_bundle(tmp_path_factory.mktemp("bundle"))
    worker = started(bundle, tmp_path_factory.mktemp("w"))
    yield grpc_address(worker)
    assert worker.stop() == 0


TRITON = """
import sys
import numpy as np
import tritonclient.grpc as grpc

client = grpc.InferenceServerClient(sys.argv[1])
name = client.get_model_repository_index().models[0].name
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(name)
assert client.get_server_metadata().extensions
told = client.get_model_metadata(name, sys.argv[3])
assert [(each.name, each.datatype, list(each.shape)) for each in told.inputs] == [("image", "FP32", [-1, 64])]

image = np.load(sys.argv[2])["input/image"][:2].astype("f4")
truth = np.load(sys.argv[2])["output/digit"][:2]
sent = grpc.InferInput("image", list(image.shape), "FP32")
sent.set_data_from_numpy(image)
for wanted in (None, [grpc.InferRequestedOutput("digit")]):
    answer = client.infer(name, [sent], outputs=wanted, request_id="one")
    assert answer.get_response().id == "one"
    assert answer.as_numpy("digit").tolist() == truth.tolist()
    assert (answer.as_numpy("probability") is None) == (wanted is not None)

short = grpc.InferInput("image", [2, 63], "FP32")
short.set_data_from_numpy(image[:, :63].copy())
for model, inputs, status in ((name, [short], "INVALID_ARGUMENT"), ("other", [sent], "NOT_FOUND")):
    try:
        client.infer(model, inputs)
    except grpc.InferenceServerException as error:
        assert status in error.status(), error
        assert error.message()
    else:
        raise AssertionError(model)
"""

KSERVE = """
import asyncio
import sys
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

image = np.load(sys.argv[2])["input/image"][:2].astype("f4")
truth = np.load(sys.argv[2])["output/digit"][:2].tolist()


async def main():
    client = InferenceGRPCClient(sys.argv[1])
    assert await client.is_server_ready() and await client.is_model_ready("digits")
    for binary in (True, False):
        sent = InferInput("image", list(image.shape), "FP32")
        sent.set_data_from_numpy(image, binary_data=binary)
        answer = await client.infer(InferRequest(model_name="digits", infer_inputs=[sent]))
        assert [int(each) for each in answer.outputs[0].as_numpy()] == truth
    await client.close()


asyncio.run(main())
"""


def run(clients: Path, script: str, *arguments: str) -> None:
    command: list[str | Path] = [clients, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_tritons_client(clients: Path, address: str) -> None:
    run(clients, TRITON, address, str(TEMPLATE / "golden.npz"), VERSION)


def test_kserves_client(clients: Path, address: str) -> None:
    run(clients, KSERVE, address, str(TEMPLATE / "golden.npz"))
