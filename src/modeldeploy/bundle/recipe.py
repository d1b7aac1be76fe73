"""What a build reads from a project, and nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modeldeploy.config.load import Project  # brings pydantic along


@dataclass(frozen=True, slots=True)
class Recipe:
    """The inputs of a build. Paths are absolute; globs are relative to ``root``."""

    root: Path
    name: str
    version: str
    model: Path
    framework: str | None
    """What the project insists on; None: whatever the file is."""
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

    @classmethod
    def of(cls, project: Project) -> Recipe:
        """The recipe in a project file."""
        file = project.file
        model, build = file.model, file.build
        return cls(
            root=project.root,
            name=file.project.name,
            version=file.project.version,
            model=project.root / model.path,
            framework=model.framework,
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
        )
