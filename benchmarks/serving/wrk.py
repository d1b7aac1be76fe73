"""The client: wrk, which is not ours, asks faster than any of the servers answers."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.run import Failed
from benchmarks.serving.cores import CLIENT, pinned

_WARM_UP, _SECONDS = 1, 4
_LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)\s*$", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)", re.MULTILINE)
_IN_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_SCRIPT = """\
local file = io.open("{body}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
{headers}
"""


class Asked(Protocol):
    """A server that is asked: an address, and the request that it understands."""

    url: str
    headers: dict[str, str]
    body: Path


@dataclass(frozen=True, slots=True)
class Wrk:
    """The program."""

    program: str

    @classmethod
    def found(cls) -> Wrk:
        """Raises `Failed` where it is not installed."""
        program = shutil.which("wrk")
        if program is None:
            raise Failed("wrk is not installed: apt-get install wrk")
        return cls(program)

    def measured(self, server: Asked, users: int) -> dict[str, float]:
        """Requests a second, and latencies in ms. Raises `Failed` where any answer was not a good one."""
        self._run(server, users, _WARM_UP)
        told = self._run(server, users, _SECONDS)
        wrong = re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", told)
        rate = _RATE.search(told)
        ms = {share: float(value) * _IN_MS[unit] for share, value, unit in _LATENCY.findall(told)}
        if wrong or rate is None or float(rate[1]) == 0 or ms.keys() != {"50", "99"}:
            raise Failed(f"{server.url} at concurrency {users}: {told}")
        return {"requests/s": float(rate[1]), "p50 ms": ms["50"], "p99 ms": ms["99"]}

    def _run(self, server: Asked, users: int, seconds: int) -> str:
        headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in server.headers.items())
        script = server.body.with_suffix(".lua")
        script.write_text(_SCRIPT.format(body=server.body, headers=headers))
        options = ["-t1", f"-c{users}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", str(script)]
        command = pinned([self.program, *options, server.url], CLIENT)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise Failed(f"wrk ended with {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout
