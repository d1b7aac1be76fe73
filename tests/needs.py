"""What a test needs of the machine: without it the test is skipped, except where it must be there."""

from __future__ import annotations

import os

import pytest


def need(there: object, what: str) -> None:
    """Skip this test, with the reason, where the machine lacks ``what``.

    `.ci/run` provides everything and sets ``MDEPLOY_TESTS_MUST_RUN``: there the same is a failure.
    """
    if there:
        return
    if os.environ.get("MDEPLOY_TESTS_MUST_RUN"):
        pytest.fail(f"this machine must have {what}, and has not")
    pytest.skip(f"needs {what}")
