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
        folder = project_folder(getattr(parsed_args, "project", None))
        return target_names(folder, env=getattr(parsed_args, "env", None))
    except ModelDeployError:
        return []


def environments(parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    """The environments of that project; none if it cannot be read."""
    from modeldeploy.config import overlay
    from modeldeploy.errors import ModelDeployError

    try:
        return overlay.environments(project_folder(getattr(parsed_args, "project", None)))
    except ModelDeployError:
        return []


def bundles(parsed_args: argparse.Namespace, prefix: str = "", **_: object) -> Iterable[str]:
    """The bundles in this machine's store, or the aliases for a word that begins so; none if unreadable."""
    from modeldeploy.bundle.store import BundleStore
    from modeldeploy.errors import ModelDeployError

    try:
        if prefix.startswith("@"):
            return aliases(parsed_args)
        return [str(known.ref) for known in BundleStore().all()]
    except (ModelDeployError, OSError):
        return []


def aliases(parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    """The aliases in the project's registry, if that is a folder: nobody waits for a network here."""
    from modeldeploy.config.peek import peek_registry, project_name
    from modeldeploy.errors import ModelDeployError

    folder = project_folder(getattr(parsed_args, "project", None))
    try:
        settings = peek_registry(folder, env=getattr(parsed_args, "env", None))
        if not settings.is_folder:
            return []
        from modeldeploy.config.names import NAME, matches
        from modeldeploy.oci.layout import Layout

        tags = Layout(settings.root / settings.url / project_name(folder)).tags()
        names = [tag.removesuffix(".bundle") for tag in tags if tag.endswith(".bundle")]
        return [f"@{name}" for name in names if matches(NAME, name) and not name.startswith("sha256-")]
    except (ModelDeployError, OSError, ValueError):
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
