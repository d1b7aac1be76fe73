"""Programs that real users ask with, in an environment of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from cached_environment import cached_environment

CLIENTS = ("kserve>=0.19,<1", "schemathesis>=4.20,<5", "tritonclient[grpc,http]>=2.60,<3")


@pytest.fixture(scope="session")
def clients() -> Path:
    """The interpreter of an environment with the clients; made once and kept between runs."""
    return cached_environment("clients", CLIENTS)
