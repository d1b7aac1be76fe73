"""What a model takes and gives, asked of its framework in the bundle's own environment, by a child process.

mdeploy itself has none of these frameworks. The child (`modeldeploy.serving.describe`) has limits on time and
memory, and what it found is kept by the digest of the model's files and the framework's version.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeldeploy import files, serving, shell
from modeldeploy.bundle import digests, frameworks
from modeldeploy.bundle.formats import Kind
from modeldeploy.bundle.lock import Lock, pins
from modeldeploy.bundle.manifest import canonical
from modeldeploy.bundle.signature import how_it_ended
from modeldeploy.errors import BundleError
from modeldeploy.oci.descriptor import digest_of

SECONDS = 300.0
_CACHE = "described-1"
"""The number grows when `serving.describe` tells something else of the same model."""
_START = (
    "import importlib.util,json,pathlib,sys;"
    "place=pathlib.Path(sys.argv[1]);"
    "spec=importlib.util.spec_from_file_location('mdeploy_serving',place/'__init__.py',"
    "submodule_search_locations=[str(place)]);"
    "sys.modules['mdeploy_serving']=importlib.util.module_from_spec(spec);"
    "sys.path[:0]=json.loads(sys.argv[6]);"
    "from mdeploy_serving.describe import main;"
    "main(sys.argv[2],pathlib.Path(sys.argv[3]),json.loads(sys.argv[4]),int(sys.argv[5]))"
)
"""Loads this very `modeldeploy.serving` under the name that it has in bundles, nothing else of mdeploy."""
_VARIABLES = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8"), "1"
    ),
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True, slots=True)
class Bundled:
    """The lock and the environment of a bundle to be, each made when it is first asked for."""

    lock: Callable[[], Lock]
    python: Callable[[], Path]
    """The environment's interpreter. May raise `BundleError`."""


@dataclass(frozen=True, slots=True)
class Described:
    """``inputs`` and ``outputs`` as `signature.TensorSpec` reads them; empty where nothing is told."""

    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any], ...]
    options: Mapping[str, Any]


def describe(
    model: Path,
    kind: Kind,
    parts: Sequence[Path],
    options: Mapping[str, Any],
    *,
    bundled: Bundled,
    code: Path | None = None,
) -> Described:
    """Ask a model's framework, unless that was done before. ``parts``: all files of the model.

    ``code`` is a folder with code of the project that loading it may need. Raises `BundleError` with what the
    framework says.
    """
    kept = _place(model, kind, parts, options, bundled.lock())
    told = _kept(kept)
    if told is None:
        told = _asked(model, kind, options, bundled.python(), code)
        files.private(kept.parent)
        files.write_json(kept, told)
    return Described(tuple(told["inputs"]), tuple(told["outputs"]), told["options"])


def _place(model: Path, kind: Kind, parts: Sequence[Path], options: Mapping[str, Any], lock: Lock) -> Path:
    base = model if model.is_dir() else model.parent
    content = [[part.relative_to(base).as_posix(), digests.content_of(part).sha256] for part in parts]
    if model.is_file():
        content[0][0] = ""  # the same model under another name
    pinned = frameworks.versions([kind.framework], [(pin.name, pin.version) for pin in pins(lock.text)])
    key = digest_of(canonical([kind.framework, dict(options), content, pinned])).removeprefix("sha256:")
    return files.home() / "cache" / _CACHE / f"{key}.json"


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        known: dict[str, Any] | None = files.read_json(path)
        return known if known and {"inputs", "outputs", "options"} <= set(known) else None
    except (ValueError, OSError, TypeError):
        return None  # a damaged entry is made anew


def _asked(
    model: Path, kind: Kind, options: Mapping[str, Any], python: Path, code: Path | None
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="mdeploy-model-") as scratch:
        # None of our own variables: there may be secrets among them, and it loads a stranger's file.
        variables = {
            "HOME": scratch,
            "TMPDIR": scratch,
            "PATH": os.environ.get("PATH", os.defpath),
            **_VARIABLES,
        }
        command = [
            *("env", "-i", *(f"{name}={value}" for name, value in variables.items())),
            *(str(python), "-I", "-c", _START, str(Path(serving.__file__).parent), kind.framework),
            *(str(model.resolve()), json.dumps(dict(options)), str(int(SECONDS))),
            json.dumps([str(code)] if code else []),
        ]
        try:
            done = shell.run(command, cwd=Path(scratch), timeout=SECONDS)
            answer: dict[str, Any] = json.loads(done.output.splitlines()[-1])
        except shell.ToolFailed as error:
            raise BundleError(
                f"{model.name} could not be read: {how_it_ended(kind.framework, SECONDS, error)}",
                hint="export the model again; is it whole, and does it load where it was trained?",
                details=_few(error.details),
            ) from error
        except (ValueError, IndexError) as error:
            raise BundleError(f"{model.name} could not be read: its reader said nothing") from error
    if "error" in answer:
        raise _refused(model, kind, answer, trust_line(model, code))
    return answer


def _few(details: Mapping[str, object]) -> dict[str, object]:
    """Of a crash, the last lines, without what is not text: a framework may print memory of its own."""
    lines = details.get("output")
    clean = [
        "".join(letter if letter.isprintable() and letter != "\ufffd" else "?" for letter in str(line))[:200]
        for line in (lines if isinstance(lines, list) else [])[-5:]
    ]
    return {"output": clean}


def trust_line(model: Path, project: Path | None) -> str:
    """What to write into the project file to trust a model."""
    inside = project is not None and model.is_relative_to(project)
    name = model.relative_to(project).as_posix() if project and inside else model.name
    return f'[scan.trust] "{name}" = "made by our own training job"'


def _refused(model: Path, kind: Kind, answer: Mapping[str, Any], trust: str) -> BundleError:
    if types := answer.get("types"):
        return BundleError(
            f"{model.name} holds types that are not known to be safe to load: {', '.join(types[:8])}",
            hint=f"find out where the file comes from; if you trust it, say why in modeldeploy.toml: {trust}",
            details={"types": list(types)},
        )
    hint = "export the model again; does it load where it was trained, with the version that the lock pins?"
    if kind.framework == frameworks.TENSORFLOW and "operations that" in answer["error"]:
        hint = f"export it without them; or, if you trust it, say why in modeldeploy.toml: {trust}"
    if str(answer["error"]).startswith(("ModuleNotFoundError", "ImportError")):
        hint = "name the package that it needs in [build] requirements, or its file in [build] include"
    return BundleError(f"{model.name} does not load: {answer['error']}", hint=hint)
