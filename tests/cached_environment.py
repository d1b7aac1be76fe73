"""Virtual environments that tests need beside their own: made once and kept between runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import uv

from modeldeploy import files


def cached_environment(name: str, requirements: Sequence[str]) -> Path:
    """The interpreter of the environment of this name; made anew when its requirements change."""
    cache = Path(os.environ.get("MDEPLOY_TEST_CACHE") or Path.home() / ".cache" / "mdeploy-tests")
    env = cache / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    wanted = "\n".join(requirements)
    cache.mkdir(parents=True, exist_ok=True)
    with files.locked(cache / f"{env.name}.lock"):
        if not (env / "ready").exists() or (env / "ready").read_text() != wanted:
            run: list[str | Path] = [uv.find_uv_bin(), "--quiet"]
            subprocess.run([*run, "venv", "--clear", "--python", sys.executable, env], check=True)
            install = [*run, "pip", "install", "--compile-bytecode", "--python", env / "bin" / "python"]
            subprocess.run([*install, *requirements], check=True)
            (env / "ready").write_text(wanted)
    return env / "bin" / "python"
