"""Says what a model takes and gives, as one line of JSON. Runs as a child process that may crash.

``mdeploy build`` runs it in the bundle's environment, where the model's framework is, and never itself loads
a model: one that makes its framework crash, hang or eat all memory ends as a sentence.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_GIB = 1 << 30
_LARGEST_FILE = 1 << 20
"""Bytes: enough for a probe of a temporary folder, or a semaphore."""
_ROOM = {"tensorflow": 24 * _GIB, "torch": 48 * _GIB}
"""Bytes of addresses, not of memory: both reserve much more than they use, CUDA's libraries more still."""


def main(framework: str, path: Path, options: Mapping[str, Any], seconds: int) -> None:
    """Print the description, or ``{"error": why}``, in the last line of the standard output."""
    _limit(framework, path, seconds)
    answers, quiet = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # a framework's chatter, or a model's, is no answer
    try:
        answer = described(framework, path, options)
    except MemoryError:
        answer = {"error": "it takes more memory to load than any model of its size should"}
    except BaseException as error:  # noqa: BLE001  # whatever the framework says is the answer
        answer = {"error": _reason(path, error), "types": getattr(error, "types", [])}
    with os.fdopen(answers, "w") as stream:
        stream.write(json.dumps(answer) + "\n")
    sys.stderr.flush()
    os._exit(0)  # threads of the framework, or of what it loaded, have no say in when we are done


def described(framework: str, path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """``{"inputs": [...], "outputs": [...], "options": {...}}``, tensors as in ``mdeploy_service.json``.

    Lists are empty where the framework does not tell. Raises whatever the framework raises.
    """
    module = importlib.import_module(f"{__package__}.runtimes.{framework}")
    found: dict[str, Any] = module.describe(path, options)
    return found


def _reason(path: Path, error: BaseException) -> str:
    told = str(error).partition("Stack trace")[0]  # of C++, which tells a user nothing
    text = " ".join(told.split()).replace(str(path), path.name)
    if isinstance(error, ImportError):
        return f"{type(error).__name__}: {text}"[:500]
    return text[:500] or type(error).__name__


def _limit(framework: str, path: Path, seconds: int) -> None:
    """Bound processor time and memory: enough for any honest model, not for all of the machine."""
    os.umask(0o077)
    parts = path.rglob("*") if path.is_dir() else (path,)
    room = _ROOM.get(framework, 8 * _GIB) + 6 * sum(part.stat().st_size for part in parts if part.is_file())
    for kind, amount in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, room),
        (resource.RLIMIT_FSIZE, _LARGEST_FILE),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # lower already, or this system does not let it be set
            resource.setrlimit(kind, (amount, amount))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # whoever writes a file gets an error, and may go on
