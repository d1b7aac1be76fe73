"""An ASGI application's start and stop: messages to a task that lives in between."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from ..lane import App


class Lifespan:
    """Starts and stops an app. `state` is what its start leaves for its requests."""

    def __init__(self, app: App) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._said: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises what the app raises, RuntimeError with what it says if it says that it failed."""
        scope: dict[str, Any] = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        self._task = asyncio.ensure_future(self._app(scope, self._said.get, self._answers.put))
        await self._ask("startup")

    async def stop(self) -> None:
        """As `start`; an app that has ended by itself, or never started, is left alone."""
        if self._task is not None and not self._task.done():
            await self._ask("shutdown")

    async def _ask(self, stage: str) -> None:
        await self._said.put({"type": f"lifespan.{stage}"})
        heard = asyncio.ensure_future(self._answers.get())
        task = self._task
        if task is None:
            raise RuntimeError("the app was never started")
        await asyncio.wait({heard, task}, return_when=asyncio.FIRST_COMPLETED)
        if not heard.done():
            heard.cancel()
            task.result()
            raise RuntimeError(f"the app ended at its {stage}")
        answer = heard.result()
        if answer["type"] != f"lifespan.{stage}.complete":
            raise RuntimeError(answer.get("message") or f"the app failed at its {stage}")
