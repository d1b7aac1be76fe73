"""Which bundles are on which targets, as far as this machine knows: so that `gc` takes none of them away.

Process targets of this machine are read from their files: every revision that one has, running, parked or
stopped, is there. Other targets are asked, and what was ever deployed to them from here is remembered in
``deployed/PROJECT/TARGET.json`` of mdeploy's home, for the day that they cannot be.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldeploy import files
from modeldeploy.bundle.manifest import canonical
from modeldeploy.bundle.store import BundleStore
from modeldeploy.config.names import PROCESS
from modeldeploy.config.peek import Address, peek, target_names
from modeldeploy.errors import ModelDeployError
from modeldeploy.model import BundleRef
from modeldeploy.oci.descriptor import digest_of
from modeldeploy.rollout import journal
from modeldeploy.store import FolderStore
from modeldeploy.target import Target
from modeldeploy.targets import open_target

_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")
_HOUR = 3600.0
"""Seconds for which a bundle stays that was deployed, whatever its target tells: it may be on its way."""


@dataclass(frozen=True, slots=True)
class Place:
    """A revision on a target of this machine."""

    project: str
    target: str
    revision: str
    digest: str
    """Of its bundle."""
    state: str
    weight: int
    """Its share of the traffic, in percent."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What targets elsewhere have told."""

    needs: Mapping[str, str]
    """Digest -> why it must stay."""
    unasked: tuple[str, ...]
    """A sentence for each target that could not be asked."""
    answered: tuple[tuple[str, str], ...]
    """Project and name of those that could."""
    since: float
    """Unix seconds when it began."""


def places() -> tuple[Place, ...]:
    """Every revision on the process targets of this machine."""
    return tuple(place for project, target in _local() for place in _on(project, target))


def _on(project: str, name: str) -> Iterator[Place]:
    with contextlib.suppress(ModelDeployError, OSError, ValueError):
        seen = open_target(PROCESS, project, name, {}).observe()
        for one in seen.revisions:
            weight = seen.traffic.weight(one.id)
            yield Place(project, name, one.id, one.bundle.digest, one.state.value, weight)


def _local() -> list[tuple[str, str]]:
    """Project and name of each process target of this machine, also of one that was destroyed."""
    found = sorted((files.home() / "targets").glob("*/*"))
    return [(path.parent.name, path.name) for path in found if path.is_dir()]


def needed(asked: Asked) -> dict[str, str]:
    """Every digest that must stay, and why."""
    found = dict(asked.needs)
    for project, target in _remembered():
        for digest, at in _record(project, target)["bundles"].items():
            if at >= asked.since - _HOUR:
                found[digest] = f"was just deployed to {target} of {project}"
    for project, target in _local():
        found |= _on_disk(project, target)
    return found


def _on_disk(project: str, target: str) -> dict[str, str]:
    """What a process target has. Its files are searched, not understood: nonsense in them hides nothing."""
    folder = files.home() / "targets" / project / target
    found = {}
    for path in folder.glob("revisions/*/spec.json"):
        with contextlib.suppress(FileNotFoundError):
            for digest in _digests(path.read_bytes()):
                found[digest] = f"revision {path.parent.name} is on {target} of {project}"
    store = FolderStore(folder / "rollouts")
    try:
        if open_rollout := journal.unfinished(store):
            lines = store.read(open_rollout.rollout)
            found |= dict.fromkeys(_digests(b"".join(lines)), f"an unfinished rollout on {target}")
    except ModelDeployError:  # a journal that makes no sense
        lines = [line for name in store.rollouts() for line in store.read(name)]
        found |= dict.fromkeys(_digests(b"".join(lines)), f"a journal of {target} cannot be read")
    return found


def _digests(content: bytes) -> set[str]:
    return {digest.decode() for digest in _DIGEST.findall(content)}


@contextlib.contextmanager
def in_use(root: Path, target: str, bundle: BundleRef) -> Iterator[None]:
    """Keep `gc` from a bundle for as long as it is being rolled out, and remember where it went.

    Raises `BundleError` if it is not on this machine any more.
    """
    with BundleStore().hold(bundle.digest):
        remember(root, peek(root, target), bundle.digest)
        yield


def remember(root: Path, address: Address, digest: str) -> None:
    """Note that a bundle is being deployed, before it is. Process targets need none: their files tell."""
    if address.driver == PROCESS:
        return
    path = _path(address.project, address.target)
    files.private(path.parent)
    with files.locked(path.with_suffix(".lock")):
        record = _record(address.project, address.target)
        bundles = {**record["bundles"], digest: time.time()}
        value = {"root": str(root.absolute()), "settings": _settings(address), "bundles": bundles}
        files.write_json(path, value)


def ask(root: Path | None) -> Asked:
    """Ask every target that is not of this machine: the project's own, and all that are remembered."""
    since = time.time()
    needs: dict[str, str] = {}
    unasked, answered = [], []
    for project, target, folder in _others(root):
        try:
            needs |= _told(project, target, folder)
            answered.append((project, target))
        except (ModelDeployError, OSError, ValueError, KeyError) as error:
            why = f"{target} of {project} cannot be asked"
            needs |= dict.fromkeys(_record(project, target)["bundles"], why)
            unasked.append(f"{why}, and keeps all that was deployed to it: {error}")
    return Asked(needs, tuple(unasked), tuple(answered), since)


def _others(root: Path | None) -> list[tuple[str, str, Path]]:
    found = {(project, target): Path(_record(project, target)["root"]) for project, target in _remembered()}
    for name in target_names(root) if root else ():
        address = peek(root or Path(), name)
        if address.driver != PROCESS:
            found[address.project, name] = root or Path()
    return [(project, target, folder) for (project, target), folder in found.items()]


def _told(project: str, target: str, folder: Path) -> dict[str, str]:
    """What one target has now. Raises where it does not answer, or may be another than it was."""
    address = peek(folder, target)
    record = _record(project, target)
    if address.project != project or record.get("settings", _settings(address)) != _settings(address):
        raise ValueError("the project file names another place than it was deployed to")
    place: Target = open_target(address.driver, project, target, address.options)
    found = {
        one.bundle.digest: f"revision {one.id} is on {target} of {project}"
        for one in place.observe().revisions
    }
    unfinished = journal.unfinished(place.store)
    if unfinished and unfinished.bundle:
        found[unfinished.bundle.digest] = f"an unfinished rollout on {target}"
    return found


def forget_old(asked: Asked) -> None:
    """Drop from the notes what targets that answered have no more."""
    for project, target in asked.answered:
        path = _path(project, target)
        if not path.exists():
            continue
        with files.locked(path.with_suffix(".lock")):
            record = _record(project, target)
            record["bundles"] = {
                digest: at
                for digest, at in record["bundles"].items()
                if digest in asked.needs or at >= asked.since - _HOUR
            }
            files.write_json(path, record)


def _path(project: str, target: str) -> Path:
    return files.home() / "deployed" / project / f"{target}.json"


def _remembered() -> list[tuple[str, str]]:
    found = sorted((files.home() / "deployed").glob("*/*.json"))
    return [(path.parent.name, path.stem) for path in found]


def _record(project: str, target: str) -> dict[str, Any]:
    """What is remembered of a target. Of a file that makes no sense, the digests in it."""
    path = _path(project, target)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {"root": "", "bundles": {}}
    try:
        found: dict[str, Any] = json.loads(content)
        found["bundles"] = {str(digest): float(at) for digest, at in found["bundles"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {"root": "", "bundles": dict.fromkeys(_digests(content), 0.0), "settings": "unreadable"}
    return found


def _settings(address: Address) -> str:
    """Tells one place from another without naming it: the options may hold secrets."""
    return digest_of(
        canonical([address.driver, json.dumps(dict(address.options), default=str, sort_keys=True)])
    )
