"""What a test needs of the machine: without it the test is skipped, except where it must be there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def need(there: object, what: str) -> None:
    """Go on only where the machine has ``what``; otherwise as `lack`."""
    if not there:
        lack(what)


def lack(what: str) -> NoReturn:
    """Skip this test, with the reason.

    `.ci/run` provides everything and sets ``MDEPLOY_TESTS_MUST_RUN``: there the same is a failure.
    """
    if os.environ.get("MDEPLOY_TESTS_MUST_RUN"):
        pytest.fail(f"this machine must have {what}")
    pytest.skip(f"needs {what}")
