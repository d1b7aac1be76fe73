"""The machine and the versions that results belong to."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.place import Place
from modeldeploy import __version__
from modeldeploy.router import envoy


def busy() -> str:
    """The load averages of 1, 5 and 15 minutes: how much else goes on."""
    return ", ".join(f"{load:.2f}" for load in os.getloadavg())


def facts(place: Place) -> dict[str, str]:
    """What somebody needs to know who wants to compare."""
    packages = place.packages()
    served = ", ".join(f"{name} {packages[name]}" for name in ("bentoml", "onnxruntime", "uvicorn", "numpy"))
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {_processor()}; {platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()} ({platform.python_compiler()})",
        "mdeploy": f"{__version__}{_commit()}, Envoy {envoy.version(envoy.locate())}",
        "in the bundle": served,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # macOS
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    commit = _output("git", "describe", "--always", "--dirty", "--exclude", "*")
    return f" ({commit})" if commit else ""


def _output(*command: str) -> str:
    here = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return ""
    return done.stdout.strip() if not done.returncode else ""
