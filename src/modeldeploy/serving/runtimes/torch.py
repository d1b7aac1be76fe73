"""PyTorch models that need no Python class: exported programs (``torch.export``) and TorchScript.

A plain ``torch.save`` file is never loaded: it is a pickle, and without its class no model either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..spec import ModelSpec, SpecError
from ..tensors.rules import Array
from .base import Settings, Value
from .tabular import BATCH, picked

SCRIPT, EXPORTED = "torchscript", "exported"
"""The option ``format``."""


class Torch:
    """A module and the names of what it gives, in its order."""

    def __init__(self, module: Any, spec: ModelSpec, *, outputs: Sequence[str], parallel: bool) -> None:
        self._module, self._outputs = module, outputs
        self._inputs = [each.name for each in spec.inputs]
        self._wanted, self._where = [each.name for each in spec.outputs], spec.name
        self.parallel = parallel

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The outputs by name."""
        import torch

        given = [torch.from_numpy(_own(arrays[name])) for name in self._inputs]
        with torch.inference_mode():
            answer = self._module(*given)
        named = (
            answer if isinstance(answer, dict) else dict(zip(self._outputs, _listed(answer), strict=False))
        )
        return picked(
            {name: each.numpy(force=True) for name, each in named.items()}, self._wanted, self._where
        )

    def close(self) -> None:
        """Nothing is held but memory."""


def load(folder: Path, spec: ModelSpec, settings: Settings) -> Torch:
    """Load a model."""
    import torch

    torch.set_num_threads(settings.threads)
    path = folder / spec.path
    wanted = [each.name for each in spec.outputs]
    if spec.options.get("format") == SCRIPT:
        module = torch.jit.load(str(path), map_location="cpu").eval()
        # PyTorch's notes on threads say of TorchScript, and of nothing else, that threads may share a model.
        return Torch(module, spec, outputs=wanted, parallel=True)
    program = _program(path)
    names, known = _input_names(program), [each.name for each in spec.inputs]
    if names != known:
        raise SpecError(f"models.{spec.name}: the model's inputs are {names}, not {known}")
    return Torch(program.module(), spec, outputs=_output_names(program), parallel=False)


def describe(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs and outputs of an exported program. TorchScript does not tell types and shapes: none."""
    import torch

    if options.get("format") == SCRIPT:
        torch.jit.load(str(path), map_location="cpu")
        return {"inputs": [], "outputs": [], "options": {"format": SCRIPT}}
    program = _program(path)
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    free: dict[str, str] = {}
    inputs = [_described(name, values[name], free) for name in _input_names(program)]
    given = zip(_output_names(program), program.graph_signature.user_outputs, strict=True)
    outputs = [_described(name, values[node], free) for name, node in given]
    return {"inputs": inputs, "outputs": outputs, "options": {"format": EXPORTED}}


def _program(path: Path) -> Any:
    """An exported program. Opened here, because by its name PyTorch takes only one that ends in .pt2."""
    import torch

    with path.open("rb") as stream:
        return torch.export.load(stream)


def _input_names(program: Any) -> list[str]:
    return [str(name) for name in program.graph_signature.user_inputs]


def _output_names(program: Any) -> list[str]:
    """The keys, where the model gives a dictionary; else ``output``, or ``output_0`` and so on."""
    names = program.graph_signature.user_outputs
    spec = program.call_spec.out_spec
    if spec is not None and spec.type is dict and len(spec.context) == len(names):
        return [str(key) for key in spec.context]
    return ["output"] if len(names) == 1 else [f"output_{index}" for index in range(len(names))]


def _described(name: str, value: Any, free: dict[str, str]) -> dict[str, Any]:
    """One tensor. Free sizes that are equal have one name; a free first one is the batch."""
    if not hasattr(value, "shape"):
        raise ValueError(f"{name} is no tensor but {type(value).__name__}")  # it is the model's
    sizes: list[int | str] = []
    for index, size in enumerate(value.shape):
        if isinstance(size, int):
            sizes.append(size)
        else:
            sizes.append(
                free.setdefault(str(size), BATCH if index == 0 and not free else f"size_{len(free)}")
            )
    return {"name": name, "dtype": str(value.dtype).removeprefix("torch."), "shape": sizes}


def _listed(answer: Any) -> Sequence[Any]:
    return answer if isinstance(answer, (tuple, list)) else (answer,)


def _own(array: Array) -> Array:
    """An array that PyTorch may take as it is: in one piece, and not read-only, of which it would warn."""
    return array if array.flags.c_contiguous and array.flags.writeable else array.copy()
