"""The parts of a Bento that BentoML itself makes, remembered as long as what they are made from is the same.

They do not depend on the model's weights, the golden samples or the version: those can change without
BentoML being started at all.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldeploy import files, shell
from modeldeploy.bundle import bento_child, progress, uvtool
from modeldeploy.bundle.environment import Environment
from modeldeploy.bundle.lock import Lock
from modeldeploy.bundle.manifest import GENERATED, canonical
from modeldeploy.bundle.stage import Item
from modeldeploy.errors import BundleError
from modeldeploy.events import Emit
from modeldeploy.oci.descriptor import digest_of

CACHE = "skeletons-1"
"""Where they are remembered; the number grows when `bento_child` makes something else of the same input."""
_VERSION = "0-version-of-the-bundle-0"
"""Stands for the version in a skeleton."""
SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Service:
    """What a skeleton is made from. ``code`` is everything below ``src/`` but the model."""

    name: str
    entrypoint: str
    python: str
    lock: Lock
    code: Sequence[Item]

    @property
    def key(self) -> str:
        """64 hexadecimal digits that tell one skeleton from another."""
        code = sorted((item.file.path, item.file.sha256) for item in self.code)
        parts = [CACHE, self.name, self.entrypoint, self.python, self.lock.digest, code]
        return digest_of(canonical(parts)).removeprefix("sha256:")


def skeleton(service: Service, *, version: str, staged: Path, emit: Emit) -> tuple[Item, ...]:
    """Everything of the Bento that is not code or model: bento.yaml, README.md, apis/, env/.

    ``staged`` is the ``src`` folder with all code and models in place; it is looked at only if no such
    skeleton is known. Raises `BundleError` for a service that cannot be imported, with file and line.
    """
    kept = files.home() / "cache" / CACHE / f"{service.key}.json"
    made = _kept(kept)
    if made is None:
        environment = Environment.for_lock(service.lock.text, service.python)
        environment.create(emit)
        with progress.step(emit, "bento", f"building the Bento of {service.entrypoint}") as told:
            made = _made(service, environment, staged, emit)
            told["message"] = f"built the Bento of {service.entrypoint}"
        files.private(kept.parent)
        files.write_json(kept, made)
    return tuple(_items(made, tag_version(version)))


def remembered(service: Service, *, version: str) -> tuple[Item, ...] | None:
    """What `skeleton` would give, if it was made before; None if BentoML would have to be asked."""
    made = _kept(files.home() / "cache" / CACHE / f"{service.key}.json")
    return None if made is None else tuple(_items(made, tag_version(version)))


def tag_version(version: str) -> str:
    """A version as BentoML's tags allow it: lower case, no plus, 63 characters at most."""
    return version.lower().replace("+", "-")[:63].strip("-._")


def _kept(path: Path) -> dict[str, str] | None:
    try:
        kept: dict[str, str] | None = files.read_json(path)
    except (ValueError, OSError):
        return None  # a damaged entry is made anew
    return kept if isinstance(kept, dict) and "bento.yaml" in kept else None


def _items(made: dict[str, str], version: str) -> Iterable[Item]:
    for path, text in made.items():
        # In YAML the version must be quoted: 1.10 without quotes is the number 1.1.
        filled = text.replace(f"version: {_VERSION}", f"version: {json.dumps(version)}").replace(
            _VERSION, version
        )
        yield Item.of_bytes(path, filled.encode(), executable=path.endswith(".sh"))


def _made(service: Service, environment: Environment, staged: Path, emit: Emit) -> dict[str, str]:
    # Beside what is staged: what a killed build leaves there goes with its workspace.
    with tempfile.TemporaryDirectory(dir=staged.parent, prefix=".bento-") as scratch:
        folder = Path(scratch).resolve()
        request = {
            "source": str(staged),
            "entrypoint": service.entrypoint,
            "name": service.name,
            "version": _VERSION,
            "bento": str(folder / "bento"),
            "lock": service.lock.text,
            "generated": service.entrypoint == GENERATED,
        }
        answer = _ask(environment.python, request, folder)
        if error := answer.get("error"):
            raise _service_broken(service, error)
        if packages := answer["packages"]:
            progress.warn(
                emit,
                f"the service's image= asks for packages that the bundle's lock does not cover:"
                f" {', '.join(packages)}; name them in [build] requirements",
                packages=packages,
            )
        bento = folder / "bento"
        paths = sorted(path for path in bento.rglob("*") if path.is_file())
        return {path.relative_to(bento).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def _ask(python: Path, request: dict[str, object], folder: Path) -> dict[str, Any]:
    asked, answered = folder / "request.json", folder / "answer.json"
    asked.write_text(json.dumps(request))
    env = {
        "BENTOML_HOME": str(folder / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": "",  # the bundle's packages, nobody else's
        "PYTHONUTF8": "1",
        # With uv in sight, or BentoML would install one.
        "PATH": f"{Path(uvtool.binary()).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    try:
        shell.run([python, bento_child.__file__, asked, answered], env=env, timeout=SECONDS)
        answer: dict[str, Any] = json.loads(answered.read_text())
    except (shell.ToolFailed, OSError, ValueError) as error:
        details = error.details if isinstance(error, shell.ToolFailed) else {"output": [str(error)]}
        raise BundleError(
            f"BentoML did not build the service {request['entrypoint']}: {error}",
            hint="its last lines are above; try it alone: bentoml build",
            details=details,
        ) from error
    return answer


def _service_broken(service: Service, error: dict[str, Any]) -> BundleError:
    where = f"{error['file']}:{error['line']}: " if error["file"] else ""
    hint = f"put it right and run the same command again; the entrypoint is '{service.entrypoint}'"
    if error["module"]:
        hint = (
            f"name the package of '{error['module']}' in [build] requirements, or its file in [build] include"
        )
    return BundleError(
        f"{where}{error['type']}: {error['message']}", hint=hint, details={"output": error["traceback"]}
    )
