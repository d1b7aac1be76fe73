"""One process that serves: its lane made and started, its signals heard, its end orderly."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from .. import logs
from ..lane import Lane
from ..observe.board import Board
from ..observe.metrics import Metrics, metrics_route
from ..observe.watch import Watch, open_watch
from ..protocols.identity import identity
from ..settings import settings
from ..spec import ServiceSpec
from .context import Room, reporting
from .lifeguard import Lifeguard, patience
from .outlet import finish_outlets
from .places import Place
from .processes import GO, READY, Shares
from .serve import Server

log = logging.getLogger("mdeploy_serving")

_AFTER_DRAIN = 2.0
"""Seconds beyond the drain for the service to close what it holds; then the process ends all the same."""


class Process:
    """Serves a bundle at a place. ``leave`` ends the process by force, once what it holds is put away."""

    def __init__(
        self,
        options: argparse.Namespace,
        spec: ServiceSpec,
        place: Place,
        *,
        leave: Callable[[], NoReturn],
        began: float,
        board: Board,
    ) -> None:
        self._options = options
        self._spec = spec
        self._place = place
        self._leave = leave
        self._began = began
        self._board = board
        self._stop = asyncio.Event()
        self._code = 0

    def run(self, *, index: int = 0, pair: socket.socket | None = None, shares: Shares | None = None) -> int:
        """Serve until SIGTERM; 0 then, 1 if a model that hangs was why. Raises what keeps it from starting.

        With a ``pair``, a parent is told when the process is ready, says when to begin, and is outlived
        only for the time of a drain.
        """
        for sig in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sig, self._leave_early)  # the model may load for a long time yet
        meter = Metrics(self._board, worker=index)
        told = settings(self._spec)
        watch = open_watch(meter, access_log=told.access_log)
        lane = self._lane(watch or meter)
        self._describe(watch or meter)
        crowded = partial(shares.more_than_others, index) if shares is not None else lambda _: False
        try:
            with asyncio.Runner(loop_factory=_loop) as runner:
                runner.run(self._serve(lane, watch or meter, crowded, pair))
        finally:
            if watch is not None:
                watch.close()
        return self._code

    def _fail(self) -> NoReturn:
        finish_outlets()
        os._exit(self._code)

    def _leave_early(self, *_: object) -> NoReturn:
        log.info("stopped before it was ready")
        self._leave()

    def _describe(self, meter: Metrics | Watch) -> None:
        """Tell metrics and logs what is served."""
        spec = self._spec
        who = identity(spec, self._options.bundle.absolute())
        frameworks = sorted({model.framework for model in spec.models}) or ["bentoml"]
        meter.describe(name=who.name, version=who.version, digest=who.digest, framework=",".join(frameworks))
        logs.tell_version(who.version)

    def _lane(self, meter: Metrics | Watch) -> Lane:
        bundle: Path = self._options.bundle.absolute()
        source = bundle / "src"
        os.chdir(source)  # where a service's relative paths begin
        if not self._spec.models:
            from ..bento.lane import lane as of_bento

            return of_bento(bundle, meter=meter)
        from ..predictions import lane as of_models

        lane = of_models(source, bundle=bundle, meter=meter)
        if not lane.routes.methods("/metrics"):
            lane.routes.add(metrics_route(meter))
        return lane

    async def _serve(
        self,
        lane: Lane,
        meter: Metrics | Watch,
        crowded: Callable[[int], bool],
        pair: socket.socket | None,
    ) -> None:
        report = reporting(meter, (meter,) if isinstance(meter, Watch) else ())
        lane = meter.lane(lane) if isinstance(meter, Watch) else lane
        listener, workers = self._place.listener, self._board.workers
        server = Server(lane, listener, report=report, crowded=crowded, workers=workers)
        await server.start()
        await self._start_grpc(lane, server.context.room)
        self._listen_to_signals()
        gc.collect()
        gc.freeze()  # what is loaded now stays: the collector need not look at it again
        guard = self._lifeguard(lane)
        if pair is None or await self._allowed(pair):
            self._place.check()
            server.listen()
            if pair is None:
                log.info("ready after %.1f s", time.monotonic() - self._began)
            await self._stop.wait()
        await self._end(lane, server, quiet=pair is not None)
        if guard is not None:
            guard.stop()

    def _lifeguard(self, lane: Lane) -> Lifeguard | None:
        """Who ends the process if it is of no use any more; of a user's own Bento, nobody can tell."""
        if lane.rescue is None:
            return None
        timeout = settings(self._spec).timeout
        late = patience(timeout)
        guard = Lifeguard(asyncio.get_running_loop(), lane.rescue, timeout + late, late, self._retire)
        guard.start()
        return guard

    def _retire(self) -> None:
        self._code = 1
        self._stop.set()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self._stop.set)

    async def _allowed(self, pair: socket.socket) -> bool:
        """Tell the parent that we are ready, and wait for its word. False if we shall stop instead."""
        loop = asyncio.get_running_loop()
        go = asyncio.Event()

        def hear() -> None:
            if pair.recv(16) == GO:
                go.set()
                return
            loop.remove_reader(pair.fileno())  # the parent is dead
            self._stop.set()

        pair.sendall(READY)
        pair.setblocking(False)
        loop.add_reader(pair.fileno(), hear)
        waits = [asyncio.ensure_future(event.wait()) for event in (go, self._stop)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return not self._stop.is_set()

    async def _start_grpc(self, lane: Lane, room: Room) -> None:
        address = _grpc_address(self._options)
        if address is None:
            return
        if lane.grpc is None:
            raise ValueError(
                f"--grpc-port, --grpc-socket: this bundle does not speak gRPC (asked for {address}); "
                'expected protocols = ["grpc"] in [service] of modeldeploy.toml when it was built'
            )
        await lane.grpc.start(address, room)

    async def _end(self, lane: Lane, server: Server, *, quiet: bool) -> None:
        drain: float = self._options.drain
        log.log(
            logging.DEBUG if quiet else logging.INFO, "stopping; requests in flight: %d", server.in_flight
        )
        leave = self._fail if self._code else self._leave
        last = threading.Timer(drain + _AFTER_DRAIN, leave)
        last.daemon = True
        last.start()  # a thread in native code can be neither cancelled nor awaited
        ends = [server.drain(drain, closed=self._place.withdraw)]
        if lane.grpc is not None and _grpc_address(self._options) is not None:
            ends.append(lane.grpc.stop(drain))
        await asyncio.gather(*ends)
        await server.stop()
        log.log(logging.DEBUG if quiet else logging.INFO, "stopped")


def _grpc_address(options: argparse.Namespace) -> str | None:
    if options.grpc_socket is not None:
        return f"unix:{options.grpc_socket.absolute()}"
    if options.grpc_port is None:
        return None
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{host}:{options.grpc_port}"


def _loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed: twice as fast."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
