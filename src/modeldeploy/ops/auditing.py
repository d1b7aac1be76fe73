"""The audit log of a project, as the commands reach it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from modeldeploy import identity
from modeldeploy.audit import Recorder
from modeldeploy.clock import SystemClock
from modeldeploy.config.overlay import VARIABLE
from modeldeploy.config.peek import peek_registry, project_name
from modeldeploy.errors import ConfigError, ModelDeployError
from modeldeploy.events import Emit
from modeldeploy.model import BundleRef, Holder
from modeldeploy.registry.base import Repository


def current_command() -> str:
    """What was typed, with the overlay of the project file that the environment chose."""
    typed = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    overlay = os.environ.get(VARIABLE)
    told = not overlay or any(word.partition("=")[0] == "--env" for word in sys.argv)
    return typed if told else f"{VARIABLE}={shlex.quote(str(overlay))} {typed}"


def current_holder() -> Holder:
    """This process, as others are told of it when they find the lock held."""
    return Holder(identity.current(), os.getpid(), current_command(), SystemClock().now())


def recorder(root: Path, emit: Emit) -> Recorder:
    """The way to the audit log of the project in this folder. Touches no registry yet.

    Needs no more of the project file than the project's name: a record waits where the rest cannot be read.
    """
    name = project_name(root)
    try:
        place: str | None = peek_registry(root).url
    except ConfigError:
        place = None
    return Recorder(name, place, lambda: repository_of(root, name), command=current_command(), emit=emit)


def repository_of(root: Path, name: str) -> Repository:
    """The project's repository. Raises `ConfigError`."""
    from modeldeploy.registry.opening import open_registry

    return open_registry(peek_registry(root)).repository(name)


def write_down(root: Path, kind: str, emit: Emit, **facts: Any) -> None:
    """One entry about what this command has done. Never raises: what was done is done."""
    try:
        one = recorder(root, emit)
    except ModelDeployError:
        return  # a project without a name has no log
    one.record(one.draft(kind, **facts))


def build_facts(bundle: Path) -> dict[str, Any]:
    """Where a bundle comes from: commit, whether the files differed from it, when it was built."""
    from modeldeploy import files
    from modeldeploy.bundle.manifest import BUILD_FACTS

    try:
        facts = files.read_json(bundle / BUILD_FACTS) or {}
        git = facts.get("git") or {}
        told = {"commit": git.get("commit"), "dirty": git.get("dirty"), "built": facts.get("built")}
    except (OSError, ValueError, AttributeError):
        return {}
    return {name: value for name, value in told.items() if value is not None}


def told_bundle(bundle: BundleRef) -> dict[str, str]:
    """A bundle reference as JSON values."""
    return {"name": bundle.name, "version": bundle.version, "digest": bundle.digest}
