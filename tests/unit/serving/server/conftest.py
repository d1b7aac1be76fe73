"""A server for each test."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from server_place import Running, running


@pytest.fixture(params=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    """A server of the lane in a thread, on a path that is short enough for a socket; on either loop."""
    loop = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), loop=loop) as serving:
        yield serving
