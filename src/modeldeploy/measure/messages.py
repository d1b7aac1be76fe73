"""What `bench` sends: whole HTTP requests, made from a bundle's golden samples or from its signature."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldeploy.bundle.manifest import Golden, Manifest
from modeldeploy.bundle.npz import stackable
from modeldeploy.bundle.recording import made_up
from modeldeploy.bundle.signature import Signature
from modeldeploy.errors import BundleError, ConfigError

PROTOCOLS = ("predict", "v2", "v2-binary", "npy")
_DISTINCT = 32
"""Most different requests; they are sent in turn."""
_BYTES = 64_000_000
"""Most bytes of all of them."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests to send in turn, each with so many rows."""

    messages: tuple[bytes, ...]
    rows: int
    source: str
    """``golden samples`` or ``made up``."""


@dataclass(frozen=True, slots=True)
class _Body:
    path: str
    kind: str
    content: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def message(self, prefix: str, host: str) -> bytes:
        lines = [f"POST {prefix}{self.path} HTTP/1.1", f"Host: {host}", f"Content-Type: {self.kind}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, f"Content-Length: {len(self.content)}", "", ""]).encode() + self.content


def make(bundle: Path, protocol: str, *, rows: int = 1, host: str = "bench", prefix: str = "") -> Requests:
    """Requests for a bundle. Raises `BundleError` where none can be made, `ConfigError` for odd settings."""
    manifest = Manifest.read(bundle)
    golden = manifest.golden
    if manifest.signature is None or (golden and golden.path.endswith(".json")):
        bodies = _recorded(bundle, golden, protocol, rows)
        return Requests(tuple(body.message(prefix, host) for body in bodies), 1, "golden samples")
    arrays, source = _arrays(bundle, manifest, manifest.signature)
    encode = _encoder(protocol, manifest.name, manifest.signature)
    messages: list[bytes] = []
    for batch in _batches(arrays, manifest.signature, rows):
        messages.append(encode(batch).message(prefix, host))
        if sum(map(len, messages)) > _BYTES:
            break
    return Requests(tuple(messages), rows, source)


def _recorded(bundle: Path, golden: Golden | None, protocol: str, rows: int) -> list[_Body]:
    if golden is None or not golden.path.endswith(".json"):
        raise BundleError(
            "nothing is known of what this service takes: it has neither a signature nor golden samples",
            hint="record requests of your own: mdeploy golden --samples samples.json",
        )
    if protocol != "predict" or rows != 1:
        raise ConfigError(
            "the golden samples of this bundle are whole requests, which are sent as they are",
            hint="leave --protocol and --rows out",
        )
    cases = json.loads((bundle / golden.path).read_bytes())[:_DISTINCT]
    return [_Body(case["path"], "application/json", json.dumps(case["body"]).encode()) for case in cases]


def _arrays(bundle: Path, manifest: Manifest, signature: Signature) -> tuple[Mapping[str, Any], str]:
    """Inputs with the samples along their leading dimension, and where they come from."""
    import numpy as np

    if manifest.golden is None:
        return made_up(signature, _DISTINCT), "made up"
    with np.load(bundle / manifest.golden.path, allow_pickle=False) as content:
        found = {name: content[name] for name in content.files}
    inputs = {name.removeprefix("input/"): each for name, each in found.items() if name.startswith("input/")}
    return inputs, "golden samples"


def _batches(arrays: Mapping[str, Any], signature: Signature, rows: int) -> list[dict[str, Any]]:
    """What each request holds: samples in turn, from the first again where they run out."""
    import numpy as np

    total = min(len(value) for value in arrays.values())
    if not stackable(signature):
        if rows != 1:
            raise ConfigError(
                "this model takes one sample at a time: its inputs have no free first dimension",
                hint="leave --rows out",
            )
        return [{name: value[at] for name, value in arrays.items()} for at in range(min(total, _DISTINCT))]
    distinct = _DISTINCT if rows == 1 else max(1, min(_DISTINCT, 4096 // rows))
    picks = [[(at * rows + row) % total for row in range(rows)] for at in range(min(distinct, total))]
    return [{name: np.ascontiguousarray(each[pick]) for name, each in arrays.items()} for pick in picks]


def _encoder(protocol: str, name: str, signature: Signature) -> Callable[[Mapping[str, Any]], _Body]:
    if protocol == "npy" and len(signature.inputs) != 1:
        raise ConfigError(
            f"a .npy body holds one array, and this model takes {len(signature.inputs)} inputs",
            hint="--protocol v2-binary",
        )
    encoders: dict[str, Callable[[Mapping[str, Any]], _Body]] = {
        "predict": _predict,
        "npy": _npy,
        "v2": lambda batch: _v2(name, batch),
        "v2-binary": lambda batch: _v2_binary(name, batch),
    }
    return encoders[protocol]


def _predict(batch: Mapping[str, Any]) -> _Body:
    told = {name: value.tolist() for name, value in batch.items()}
    return _Body("/predict", "application/json", json.dumps(told).encode())


def _npy(batch: Mapping[str, Any]) -> _Body:
    import io

    import numpy as np

    content = io.BytesIO()
    np.save(content, next(iter(batch.values())), allow_pickle=False)
    return _Body("/predict", "application/x-npy", content.getvalue())


def _v2(name: str, batch: Mapping[str, Any]) -> _Body:
    inputs = [{**_described(each, value), "data": value.ravel().tolist()} for each, value in batch.items()]
    return _Body(f"/v2/models/{name}/infer", "application/json", json.dumps({"inputs": inputs}).encode())


def _v2_binary(name: str, batch: Mapping[str, Any]) -> _Body:
    parts = {each: _raw(value) for each, value in batch.items()}
    inputs = [
        {**_described(each, value), "parameters": {"binary_data_size": len(parts[each])}}
        for each, value in batch.items()
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    length = ("Inference-Header-Content-Length", str(len(head)))
    content = head + b"".join(parts.values())
    return _Body(f"/v2/models/{name}/infer", "application/octet-stream", content, (length,))


def _described(name: str, value: Any) -> dict[str, Any]:
    kind = {"float": "FP", "int": "INT", "uint": "UINT"}
    plain = value.dtype.name.rstrip("0123456789")
    datatype = f"{kind[plain]}{8 * value.dtype.itemsize}" if plain in kind else ""
    datatype = datatype or ("BOOL" if plain == "bool" else "BYTES")
    return {"name": name, "shape": list(value.shape), "datatype": datatype}


def _raw(value: Any) -> bytes:
    if value.dtype.kind not in "US":
        content: bytes = value.tobytes()
        return content
    texts = [str(text).encode() for text in value.ravel().tolist()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
