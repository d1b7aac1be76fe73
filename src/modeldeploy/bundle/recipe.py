"""What a build reads from a project, and nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
        )
