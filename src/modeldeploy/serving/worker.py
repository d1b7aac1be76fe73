"""Serve a Bento: ``python -m mdeploy_serving.worker --socket PATH``, or ``--port N``.

Any Bento: the service that mdeploy generates, or the user's own. What it is asked again and again, its
predictions and health, it answers from a fast lane of its own (`server`); everything else is its ASGI
application's, run by uvicorn. Of BentoML it takes neither the processes, the access log nor the home folder
that ``bentoml serve`` brings along.

On a machine it listens on a unix socket; in a container, whose network is its own, on a port. Either is
bound at once and listened on when the model is loaded and warm, so a connection that is
accepted is one that is served. With ``--workers`` there are several processes behind the one socket
(`server.processes`), which are ready when all are. SIGTERM stops accepting, lets the requests in flight
finish, and exits with 0.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from . import logs
from .bento import quiet_bentoml
from .observe.board import Board
from .server.outlet import finish_outlets, open_outlets
from .server.places import Place, bound_path, bound_port
from .server.processes import Shares, Supervisor
from .settings import WORKERS, ServiceSettings, settings
from .spec import ServiceSpec, load_if_there

if TYPE_CHECKING:
    from .server.process import Process

log = logging.getLogger("mdeploy_serving")

_DRAIN = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM. 0 after a drain, 1 if the service did not start; the log says why."""
    began = time.monotonic()
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.grpc_port is not None and options.grpc_socket is not None:
        parser.error("--grpc-port and --grpc-socket: give one of them")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _set_up_process()
    try:
        with ExitStack() as held:
            place = _place(options, held)
            spec = load_if_there(options.bundle.absolute() / "src")
            chosen = _settings(options.workers, spec)
            _check_grpc(options, chosen.workers)
            shared = Shared(options, spec, place, held, began, Board(chosen.workers))
            return _supervised(shared, chosen.workers) if chosen.workers > 1 else _alone(shared)
    except Exception:
        log.exception("the service did not start")
        return 1
    finally:
        finish_outlets()


def _check_grpc(options: argparse.Namespace, workers: int) -> None:
    """Several processes share a port that is named, and nothing else."""
    if workers > 1 and options.grpc_socket is not None:
        raise ValueError(
            f"--grpc-socket: {workers} workers cannot share one; expected --grpc-port, or one worker"
        )
    if workers > 1 and options.grpc_port == 0:
        raise ValueError(f"--grpc-port 0: {workers} workers would take different ones; expected a port")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mdeploy_serving.worker", description="Serve a Bento on a unix socket or a port."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="where to listen; a stale one is replaced")
    where.add_argument("--port", type=int, help="where to listen, in a container; 0 takes a free one")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on with a port (default: %(default)s)"
    )
    parser.add_argument("--grpc-socket", type=Path, help="where to speak gRPC, if the bundle does")
    parser.add_argument("--grpc-port", type=int, help="where to speak gRPC, if the bundle does")
    parser.add_argument(
        "--bundle",
        type=Path,
        default=Path(__file__).absolute().parents[2],
        help="folder with bento.yaml (default: the one that holds this file)",
    )
    parser.add_argument(
        "--workers",
        type=_count,
        help="processes behind the one socket; 0: one for each processor (default: as the bundle says)",
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=_DRAIN,
        help="seconds for the requests in flight after SIGTERM (default: %(default)g)",
    )
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 5):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def _set_up_process() -> None:
    open_outlets()
    faulthandler.enable()  # a crash in native code leaves a traceback in the log
    logs.set_up()
    logs.tell_of_uncaught()
    sys.dont_write_bytecode = True  # a bundle is only read
    quiet_bentoml()  # hooks and other code of the project may import it


def _place(options: argparse.Namespace, held: ExitStack) -> Place:
    """Where to listen, bound; and a home for BentoML."""
    if options.socket is None:
        held.enter_context(_bentoml_scratch())
        return held.enter_context(bound_port(options.host, options.port))
    path: Path = options.socket.absolute()
    place = held.enter_context(bound_path(path))
    held.enter_context(_bentoml_home(path))  # after the path is ours: another worker's home is left alone
    return place


def _settings(workers: int | None, spec: ServiceSpec) -> ServiceSettings:
    """The settings; whoever reads them again, e.g. for the threads of each inference, sees the same ones."""
    if workers is not None:
        os.environ[WORKERS] = str(workers)
    return settings(spec)


@dataclass(frozen=True, slots=True)
class Shared:
    """What the processes of a service have in common."""

    options: argparse.Namespace
    spec: ServiceSpec
    place: Place
    held: ExitStack
    """What has to be put away before the process ends by force."""
    began: float
    board: Board

    def process(self, place: Place, *, leave: Callable[[], NoReturn], began: float) -> Process:
        """One that serves. Imports asyncio, which one that only watches over others has no use for."""
        from .server.process import Process

        return Process(self.options, self.spec, place, leave=leave, began=began, board=self.board)


def _alone(shared: Shared) -> int:
    """Serve in this process."""

    def leave() -> NoReturn:
        shared.held.close()
        finish_outlets()
        os._exit(0)

    return shared.process(shared.place, leave=leave, began=shared.began).run()


def _supervised(shared: Shared, workers: int) -> int:
    """Serve in several processes, and watch over them in this one."""
    shares = Shares(workers)

    def leave() -> NoReturn:
        finish_outlets()
        os._exit(0)

    def work(index: int, pair: socket.socket) -> int:
        ours = Place(shared.place.listener)  # the path is the parent's
        process = shared.process(ours, leave=leave, began=time.monotonic())
        return process.run(index=index, pair=pair, shares=shares)

    place, drain = shared.place, shared.options.drain
    began, check = shared.began, place.check
    return Supervisor(workers, work, place.listener, place.withdraw, drain, began, shares, check).run()


@contextmanager
def _bentoml_home(path: Path) -> Iterator[None]:
    """A scratch folder beside the socket as BentoML's home, unless the environment names one.

    Its place is fixed, so that a worker that was killed leaves it to its successor to clear.
    """
    if os.environ.get("BENTOML_HOME"):
        yield
        return
    home = path.with_name(f"{path.name}.home")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    os.environ["BENTOML_HOME"] = os.fspath(home)
    try:
        yield
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _bentoml_scratch() -> Iterator[None]:
    """A new scratch folder as BentoML's home, unless the environment names one.

    Where the root is read-only and nothing is mounted on /tmp, shared memory is what a container can write.
    """
    if os.environ.get("BENTOML_HOME"):
        yield
        return
    shared = Path("/dev/shm")  # noqa: S108  # only as a place for a folder of an unforeseeable name
    try:
        home = tempfile.mkdtemp(prefix="bentoml-")
    except OSError:
        if not os.access(shared, os.W_OK):
            raise
        home = tempfile.mkdtemp(prefix="bentoml-", dir=shared)
        os.environ["TMPDIR"] = os.fspath(shared)
    os.environ["BENTOML_HOME"] = home
    try:
        yield
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
