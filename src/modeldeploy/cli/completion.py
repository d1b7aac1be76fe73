"""Completion in the shell: argcomplete over the same parsers, with the project's own names."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable
    from pathlib import Path


def complete() -> None:
    """Answer the shell's question, which is in the environment, and end the process."""
    import argcomplete

    from modeldeploy.cli.arguments import whole_parser

    argcomplete.autocomplete(whole_parser())


def completes_with(completer: Callable[..., Iterable[str]], action: argparse.Action) -> None:
    """Complete an argument's values by what a function says."""
    action.completer = completer  # type: ignore[attr-defined]  # argcomplete looks for this attribute


def targets(parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    """The target names of the project that the words so far mean; none if it cannot be read."""
    from modeldeploy.config.peek import target_names
    from modeldeploy.errors import ModelDeployError

    try:
        return target_names(project_folder(getattr(parsed_args, "project", None)))
    except ModelDeployError:
        return []


def bundles(**_: object) -> Iterable[str]:
    """The bundles in this machine's store; none if it cannot be read."""
    from modeldeploy.bundle.store import BundleStore
    from modeldeploy.errors import ModelDeployError

    try:
        return [str(known.ref) for known in BundleStore().all()]
    except (ModelDeployError, OSError):
        return []


def project_folder(given: str | None) -> Path:
    """The folder that ``--project`` names; else this folder or the nearest above with a project file.

    This folder where there is none: the error that follows names it.
    """
    from pathlib import Path

    if given is not None:
        return Path(os.path.expanduser(given)).absolute()  # noqa: PTH111 - Path.expanduser raises for ~nobody
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "modeldeploy.toml").exists()), here)
