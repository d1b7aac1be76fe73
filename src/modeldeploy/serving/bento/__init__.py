"""Where BentoML comes in: the generated service, and the fast lane for a user's own."""

from __future__ import annotations

import os

_QUIET = "services.logging.access.enabled=false"
"""BentoML option: no access log, unless the service asks for one in its decorator."""


def quiet_bentoml() -> None:
    """Have BentoML neither report to its makers nor log each request. Call it before it is imported."""
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    os.environ.setdefault("BENTOML_CONFIG_OPTIONS", _QUIET)
