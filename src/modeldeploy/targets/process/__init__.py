"""The `process` target: revisions as supervised processes on this machine, behind a real Envoy.

How the parts work together, in the order of a request's life::

    driver      the verbs of `Target`: writes what is wanted, reads what is, and never waits
    records     the files between the two: what is wanted (desired), what is (report)
    supervisor  the one loop that makes the second like the first; a standby takes over if it dies
    revision    one revision: prepare its environment, keep its workers running
    replica     one worker process: start, probe, restart, stop
    gateway     Envoy: keep it running, bring clusters and routes to what is wanted

Workers and Envoy are not tied to the life of the supervisor: it may be killed and replaced at any
time, and the next one adopts what runs (`lifeline`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeldeploy.targets.process.driver import ProcessTarget

__all__ = ["ProcessTarget"]


def __getattr__(name: str) -> object:
    """Load the driver when it is asked for: the supervisor, beside it, needs none of it."""
    if name != "ProcessTarget":
        raise AttributeError(name)
    from modeldeploy.targets.process.driver import ProcessTarget

    return ProcessTarget
