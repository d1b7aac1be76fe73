"""What a form of body costs to read and write, without server and model: ``python benchmarks/codecs.py``."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa

from modeldeploy.serving.exchange import Request
from modeldeploy.serving.protocols import arrow, npy, v2_binary
from modeldeploy.serving.protocols.base import Codec
from modeldeploy.serving.protocols.paths import predict_codec
from modeldeploy.serving.protocols.v2 import Infer
from modeldeploy.serving.spec import ServiceSpec, TensorSpec
from modeldeploy.serving.tensors.rules import Array

SIZES = (4, 1_000, 150_528)
ROUNDS = 7
ROUND = 0.05
"""Seconds that a round takes, about."""


def main() -> None:
    print(f"{'floats':>8} {'form':<10} {'bytes':>9} {'read us':>10} {'write us':>10}")
    for size in SIZES:
        values = np.random.default_rng(1).standard_normal((1, size)).astype(np.float32)
        for form, codec, request in requests(values):
            asked = codec.read(request)
            outputs = {"y": values}
            read = quickest(lambda codec=codec, request=request: codec.read(request))  # type: ignore[misc]  # bound now
            write = quickest(lambda codec=codec, asked=asked, out=outputs: codec.write(asked, out))  # type: ignore[misc]
            print(f"{size:>8} {form:<10} {len(request.body):>9} {read * 1e6:>10.1f} {write * 1e6:>10.1f}")


def requests(values: Array) -> Iterator[tuple[str, Codec, Request]]:
    """The same values in every form, with the codec that reads it; the answer is of the same form."""
    size = values.shape[1]
    x, y = (TensorSpec(name, "float32", ("n", size)) for name in "xy")
    spec = ServiceSpec("codecs", (x,), (y,), protocols=("arrow",))
    predict, infer = predict_codec(spec), Infer(spec, "codecs", "1")
    yield "JSON", predict, asking({}, json.dumps({"x": values.tolist()}).encode())
    entry = {"name": "x", "shape": [1, size], "datatype": "FP32"}
    flat = {"inputs": [{**entry, "data": values.reshape(-1).tolist()}]}
    yield "V2 JSON", infer, asking({}, json.dumps(flat).encode())
    sized = {**entry, "parameters": {v2_binary.SIZE: values.nbytes}}
    head = json.dumps({"inputs": [sized], "parameters": {"binary_data_output": True}}).encode()
    yield "V2 binary", infer, asking({v2_binary.HEADER: str(len(head))}, head + values.tobytes())
    file = io.BytesIO()
    np.save(file, values)
    yield "npy", predict, asking({"content-type": npy.MEDIA, "accept": npy.MEDIA}, file.getvalue())
    yield "Arrow", predict, asking({"content-type": arrow.MEDIA, "accept": arrow.MEDIA}, stream(values))


def asking(headers: Mapping[str, str], body: bytes) -> Request:
    return Request("POST", "/", headers, body)


def stream(values: Array) -> bytes:
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    batch = pa.record_batch({"x": column})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def quickest(act: Callable[[], object]) -> float:
    """Seconds of one call in the quickest round."""
    began = time.perf_counter()
    act()
    times = max(1, int(ROUND / (time.perf_counter() - began)))
    return min(round_of(act, times) for _ in range(ROUNDS))


def round_of(act: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - began) / times


if __name__ == "__main__":
    main()
