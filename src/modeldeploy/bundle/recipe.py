"""What a build reads from a project, and nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeldeploy.bundle.signature import TensorSpec
from modeldeploy.serving.spec import Limits, Runtime

if TYPE_CHECKING:  # these bring pydantic along
    from modeldeploy.config.load import Project
    from modeldeploy.config.model_tables import NamedModelTable, OutputTable
    from modeldeploy.config.service_tables import ServiceTable


@dataclass(frozen=True, slots=True)
class ModelRecipe:
    """One model of a project. ``inputs`` and ``outputs``: what the project says of them, if it does."""

    name: str
    """In a project with one model, the project's name."""
    path: Path
    framework: str | None = None
    """What the project insists on; None: whatever the file is."""
    python_class: str = ""
    """``module:Class`` of a model that is a class of the project's; "" for all others."""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceRecipe:
    """How the service answers: hooks, limits, and how several models are one."""

    before: str = ""
    """``module:function`` that makes the models' inputs of what clients send; "" for none."""
    after: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    """What clients send, where the project says so."""
    outputs: tuple[TensorSpec, ...] = ()
    graph: Mapping[str, Any] | None = None
    """As ``mdeploy_service.json`` has it; None for a single model."""
    rows: int = 64
    limits: Limits = field(default_factory=Limits)
    runtime: Runtime = field(default_factory=Runtime)
    protocols: tuple[str, ...] = ()
    tracing: bool = False
    """The bundle needs the OpenTelemetry exporter."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The inputs of a build. Paths are absolute; globs are relative to ``root``."""

    root: Path
    name: str
    version: str
    models: tuple[ModelRecipe, ...]
    """At least one."""
    golden: Path | None
    rtol: float
    atol: float
    entrypoint: str | None
    """The project's own service, e.g. ``service:Digits``; None: one is generated from the signature."""
    python: str
    requirements: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    platforms: tuple[str, ...] = ()
    """What images can be made for, e.g. ``linux/arm64``: every package must be there as a wheel for each."""
    license: str = ""
    """The model's licence as an SPDX expression; "" for none."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the project tells of the model, in JSON values."""
    trust: Mapping[str, str] = field(default_factory=dict)
    """Files whose code may be run, each with the reason. No part of the bundle."""
    service: ServiceRecipe = field(default_factory=ServiceRecipe)

    @property
    def model(self) -> Path:
        """The model; the first of several."""
        return self.models[0].path

    @property
    def code_names(self) -> Mapping[str, str]:
        """Keys of the project file that name code of the project, each with its ``module:name``."""
        named = {"[service] entrypoint": self.entrypoint or "", "[service] preprocess": self.service.before}
        named["[service] postprocess"] = self.service.after
        for model in self.models:
            table = (
                "[model]" if len(self.models) == 1 and model.name == self.name else f"[models.{model.name}]"
            )
            named[f"{table} class"] = model.python_class
        return {key: name for key, name in named.items() if name}

    @classmethod
    def of(cls, project: Project) -> Recipe:
        """The recipe in a project file."""
        file = project.file
        model, build = file.model, file.build
        return cls(
            root=project.root,
            name=file.project.name,
            version=file.project.version,
            models=_models(project),
            golden=project.root / model.golden if model.golden else None,
            rtol=model.tolerance.rtol,
            atol=model.tolerance.atol,
            entrypoint=file.service.entrypoint,
            python=build.python,
            requirements=tuple(build.requirements),
            include=tuple(build.include),
            exclude=tuple(build.exclude),
            platforms=tuple(sorted(build.platforms)),
            license=model.license or "",
            metadata=file.metadata,
            trust=file.scan.trust,
            service=_service(file.service),
        )


def _models(project: Project) -> tuple[ModelRecipe, ...]:
    file = project.file
    named: Mapping[str, NamedModelTable] = file.models or {file.project.name: file.model}
    return tuple(
        ModelRecipe(
            name=name,
            path=project.root / table.path,
            framework=table.framework,
            python_class=table.cls or "",
            inputs=_tensors(table.inputs),
            outputs=_tensors(table.outputs),
        )
        for name, table in named.items()
    )


def _tensors(tables: Sequence[OutputTable]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(**table.model_dump()) for table in tables)


def _service(table: ServiceTable) -> ServiceRecipe:
    return ServiceRecipe(
        before=table.preprocess or "",
        after=table.postprocess or "",
        inputs=_tensors(table.inputs),
        outputs=_tensors(table.outputs),
        graph=_graph(table),
        rows=table.batch_rows,
        limits=Limits(body=table.max_body, queue=table.queue, timeout=table.timeout),
        runtime=Runtime(table.workers, table.threads, table.providers, table.graph_optimization),
        protocols=tuple(sorted(table.protocols)),
        tracing=table.tracing,
    )


def _graph(table: ServiceTable) -> Mapping[str, Any] | None:
    for kind in ("chain", "ensemble", "choose"):
        said = getattr(table, kind)
        if said is not None:
            return {"kind": kind, **said.model_dump(mode="json")}
    return None
