"""The lane of a generated service: its models, and a path for each protocol that asks them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .engine.job import Engine, Job
from .lane import App, Companion, Lane, Receive, Scope, Send
from .observe.base import Meter
from .problems import NotReady
from .protocols.identity import Identity, identity
from .protocols.paths import not_found, routes
from .runtimes.base import Value
from .server.asgi import new_id, send_response
from .settings import ServiceSettings, settings
from .spec import ServiceSpec, load
from .tensors.rules import Array

if TYPE_CHECKING:
    from .engine.engine import Engine as OpenEngine


class LateEngine:
    """An engine that handlers may hold before its models are loaded: until then it is not ready."""

    def __init__(self, spec: ServiceSpec) -> None:
        self.spec = spec
        self._engine: OpenEngine | None = None

    def load(self, folder: Path, settings: ServiceSettings, meter: Meter) -> OpenEngine:
        """Load and warm the models; takes long, and any thread may do it. Raises what keeps it from that."""
        from .engine.engine import open_engine  # a framework comes with it

        return open_engine(folder, self.spec, meter=meter, settings=settings)

    def take(self, engine: OpenEngine) -> None:
        """From now on this engine answers. Its methods take the place of ours: no call in between."""
        self._engine = engine
        self.submit = engine.submit  # type: ignore[method-assign]
        self.run = engine.run  # type: ignore[method-assign]

    def submit(self, job: Job) -> None:
        job.fail(NotReady("the model is not loaded yet"))

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Value]:  # noqa: ARG002  # the protocol's signature
        raise NotReady("the model is not loaded yet")

    @property
    def ready(self) -> bool:
        return self._engine is not None and self._engine.ready

    def rescue(self) -> bool:
        """See `Lane.rescue`."""
        return self._engine is not None and self._engine.rescue()

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()


def lane(folder: Path, *, bundle: Path | None, meter: Meter) -> Lane:
    """The lane of the ``mdeploy_service.json`` in a folder; nothing is loaded before `Lane.start`.

    ``bundle`` is the folder with ``mdeploy.json`` and ``bento.yaml``, if there is one.
    Raises `SpecError`, and ValueError for nonsense in the environment.
    """
    spec = load(folder)
    chosen = settings(spec)
    engine = LateEngine(spec)
    who = identity(spec, bundle)
    return Lane(
        routes=routes(spec, engine, who, chosen),
        app=_app(bundle, who),
        ready=lambda: engine.ready,
        start=partial(_start, engine, folder, chosen, meter),
        stop=partial(_stop, engine),
        grpc=_grpc(spec, engine, who, chosen, meter),
        rescue=engine.rescue,
    )


def _grpc(
    spec: ServiceSpec, engine: Engine, who: Identity, settings: ServiceSettings, meter: Meter
) -> Companion | None:
    if "grpc" not in spec.protocols:
        return None
    from .protocols.grpc import Grpc  # only where it is wanted

    return Grpc(spec, engine, who, settings, meter)


async def _start(engine: LateEngine, folder: Path, settings: ServiceSettings, meter: Meter) -> None:
    engine.take(await asyncio.to_thread(engine.load, folder, settings, meter))


async def _stop(engine: LateEngine) -> None:
    await asyncio.to_thread(engine.close)


def _app(bundle: Path | None, who: Identity) -> App:
    """What answers other paths: BentoML, where there is a Bento, those that its clients ask for."""
    if bundle is None or not (bundle / "bento.yaml").is_file():
        return partial(nothing_else, who.name)
    from .bento.lazy import LazyApp  # where there is no Bento, there may be no BentoML

    return LazyApp(bundle, otherwise=partial(nothing_else, who.name))


async def nothing_else(model: str, scope: Scope, receive: Receive, send: Send) -> None:
    """An app without paths: in the form of the protocol that was asked, there is none."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    answer = not_found(scope["path"], model)
    await send_response(send, answer, new_id())
