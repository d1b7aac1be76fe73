"""What every framework's model looks like to the rest of the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..spec import ModelSpec

if TYPE_CHECKING:  # the process that only watches over workers has no numpy
    from ..tensors.rules import Array

Value = object
"""An output: an array, or for models that give no tensor a list or a mapping (ONNX sequences and maps)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How models run on this machine. From the service's spec, overruled by the environment."""

    threads: int
    """Of one inference; from the processors that the control group allows, unless somebody says."""
    providers: tuple[str, ...] = ("cpu",)
    """Where to run, best first; a provider after the first is a declared fallback."""
    graph_optimization: str = "all"
    """``disable``, ``basic``, ``extended`` or ``all``."""
    workers: int = 1
    """Processes that load the same model on this machine: more than one should share its weights."""


class Model(Protocol):
    """A loaded model, or several that act as one (`graph`).

    ``run`` takes arrays that match the inputs of its spec, and gives the outputs by name. It is called
    from one thread at a time unless ``parallel`` is true. It raises whatever the framework raises.
    """

    parallel: bool
    """True if several threads may run it at once."""

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:
        """The outputs by name."""

    def close(self) -> None:
        """Give back what the model holds."""


class Loader(Protocol):
    """``load`` of each module of this package."""

    def __call__(self, folder: Path, spec: ModelSpec, settings: Settings) -> Model:
        """Load the model at ``folder / spec.path``. Raises `SpecError` where it is not what the spec says."""
