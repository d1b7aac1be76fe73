"""How a service runs on this machine: what its spec says, unless the environment says otherwise.

::

    MDEPLOY_WORKERS           processes; 0: one for each processor       whole number, 0 to 1024
    MDEPLOY_INTRA_OP_THREADS  threads of one inference                   whole number, 1 to 1024
    MDEPLOY_MAX_BODY_BYTES    largest body that is read                  whole number from 1
    MDEPLOY_TIMEOUT           from a request's first byte to its answer  60, 500ms, 30s, 2m
    MDEPLOY_QUEUE             most requests that wait for the model      whole number from 1
    MDEPLOY_BATCH_ROWS        most rows run together; 0: each alone      whole number from 0
    MDEPLOY_PROVIDERS         where to run, best first, then fallbacks   cuda,cpu
    MDEPLOY_ACCESS_LOG        a log line for each request                1 or 0

An empty variable says nothing.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from . import cpu
from .runtimes.base import Settings as ModelSettings
from .spec import MOST_THREADS, MOST_WORKERS, ServiceSpec
from .spec import PROVIDERS as KNOWN_PROVIDERS

WORKERS = "MDEPLOY_WORKERS"
THREADS = "MDEPLOY_INTRA_OP_THREADS"
MAX_BODY = "MDEPLOY_MAX_BODY_BYTES"
TIMEOUT = "MDEPLOY_TIMEOUT"
QUEUE = "MDEPLOY_QUEUE"
BATCH_ROWS = "MDEPLOY_BATCH_ROWS"
PROVIDERS = "MDEPLOY_PROVIDERS"
ACCESS_LOG = "MDEPLOY_ACCESS_LOG"

_SWITCH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_DIGITS = 18
"""Longest whole number that is taken."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """One worker's settings, all worked out."""

    workers: int
    """Processes of this service on this machine; at least 1."""
    max_body: int
    """Bytes."""
    timeout: float
    """Seconds."""
    queue: int
    """Requests that wait for the model."""
    rows: int
    """Most rows of several requests that are run together; 0: each request alone."""
    access_log: bool
    model: ModelSettings


def settings(spec: ServiceSpec, environment: Mapping[str, str] | None = None) -> ServiceSettings:
    """The settings of a service, from its spec and the environment (this process's, unless given).

    Raises ValueError that names the variable, its value and what was expected.
    """
    said = _Environment(os.environ if environment is None else environment)
    limits, runtime = spec.limits, spec.runtime
    workers = said.whole(WORKERS, runtime.workers, least=0, most=MOST_WORKERS) or cpu.processors()
    threads = said.whole(THREADS, runtime.threads, least=1, most=MOST_THREADS) or cpu.threads(workers)
    return ServiceSettings(
        workers=workers,
        max_body=said.whole(MAX_BODY, limits.body, least=1),
        timeout=said.seconds(TIMEOUT, limits.timeout),
        queue=said.whole(QUEUE, limits.queue, least=1),
        rows=said.whole(BATCH_ROWS, spec.rows, least=0),
        access_log=said.switch(ACCESS_LOG),
        model=ModelSettings(
            threads=threads,
            providers=said.providers(runtime.providers),
            graph_optimization=runtime.graph_optimization,
            workers=workers,
        ),
    )


class _Environment:
    """Reads variables; each method takes what holds where the variable is not set."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def whole(self, name: str, otherwise: int, *, least: int, most: int = 10**_DIGITS) -> int:
        text = self._text(name)
        if not text:
            return otherwise
        plain = text.isascii() and text.isdecimal() and len(text) <= _DIGITS
        if not (plain and least <= int(text) <= most):
            end = f" to {most}" if most < 10**_DIGITS else ""
            raise ValueError(f"{name} must be a whole number from {least}{end}, got {text!r}")
        return int(text)

    def seconds(self, name: str, otherwise: float) -> float:
        text = self._text(name)
        if not text:
            return otherwise
        match = _DURATION.fullmatch(text)
        seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
        if not 0 < seconds < math.inf:
            raise ValueError(f"{name} must be a time above 0 such as 60, 500ms, 30s or 2m, got {text!r}")
        return seconds

    def switch(self, name: str) -> bool:
        text = self._text(name).lower()
        if text and text not in _SWITCH:
            raise ValueError(f"{name} must be 1 or 0, got {text!r}")
        return _SWITCH[text] if text else False

    def providers(self, otherwise: tuple[str, ...]) -> tuple[str, ...]:
        text = self._text(PROVIDERS)
        if not text:
            return otherwise
        named = tuple(name.strip().lower() for name in text.split(","))
        if len(set(named)) < len(named) or not set(named) <= set(KNOWN_PROVIDERS):
            raise ValueError(
                f"{PROVIDERS} must be one or more of {', '.join(KNOWN_PROVIDERS)}, each once, "
                f"with commas between, got {text!r}"
            )
        return named

    def _text(self, name: str) -> str:
        return self._variables.get(name, "").strip()
