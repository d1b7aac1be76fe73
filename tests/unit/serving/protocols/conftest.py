"""Programs that real users ask with, in an environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import uv

from modeldeploy import files

CLIENTS = ("kserve>=0.19,<1", "schemathesis>=4.20,<5", "tritonclient[grpc,http]>=2.60,<3")


@pytest.fixture(scope="session")
def clients() -> Path:
    """The interpreter of an environment with the clients; made once and kept between runs."""
    cache = Path(os.environ.get("MDEPLOY_TEST_CACHE") or Path.home() / ".cache" / "mdeploy-tests")
    env = cache / f"clients-{sys.version_info.major}.{sys.version_info.minor}"
    wanted = "\n".join(CLIENTS)
    cache.mkdir(parents=True, exist_ok=True)
    with files.locked(cache / f"{env.name}.lock"):
        if not (env / "ready").exists() or (env / "ready").read_text() != wanted:
            run: list[str | Path] = [uv.find_uv_bin(), "--quiet"]
            subprocess.run([*run, "venv", "--clear", "--python", sys.executable, env], check=True)
            subprocess.run([*run, "pip", "install", "--python", env / "bin" / "python", *CLIENTS], check=True)
            (env / "ready").write_text(wanted)
    return env / "bin" / "python"
