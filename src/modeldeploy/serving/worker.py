"""Serve a Bento from one process: ``python -m mdeploy_serving.worker --socket PATH``, or ``--port N``.

Any Bento: the service that mdeploy generates, or the user's own. It is BentoML's own ASGI application,
run by uvicorn (on uvloop and httptools where they are installed) without the processes, the access log
and the home folder that ``bentoml serve`` brings along.

On a machine it listens on a unix socket; in a container, whose network is its own, on a port. Either is
bound at once and listened on when the model is loaded and warm, so a connection that is
accepted is one that is served. SIGTERM stops accepting, lets the requests in flight finish, and exits
with 0.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import io
import logging
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import uvicorn

from . import logs

log = logging.getLogger("mdeploy_serving")

_KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than a proxy's, so that the proxy closes first."""
_DRAIN = 30.0
_AFTER_DRAIN = 2.0
"""Seconds beyond the drain for the service to close what it holds; then the process ends all the same."""
_BACKLOG = 2048
_QUIET = "services.logging.access.enabled=false"
"""BentoML option: no access log, unless the service asks for one in its decorator."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM. 0 after a drain, 1 if the service did not start; the log says why."""
    began = time.monotonic()
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _set_up_process()
    try:
        with ExitStack() as held:
            listener = _listener(options, held)
            server = _Server(_application(options.bundle.absolute()), held, drain=options.drain, began=began)
            return _run(server, listener)
    except Exception:
        log.exception("the service did not start")
        return 1


def _listener(options: argparse.Namespace, held: ExitStack) -> socket.socket:
    """Where to listen, bound; and a home for BentoML."""
    if options.socket is None:
        held.enter_context(_bentoml_scratch())
        return held.enter_context(_bound_port(options.host, options.port))
    path: Path = options.socket.absolute()
    held.enter_context(_bentoml_home(path))
    return held.enter_context(_bound(path))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mdeploy_serving.worker", description="Serve a Bento on a unix socket or a port, in one process."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="where to listen; a stale one is replaced")
    where.add_argument("--port", type=int, help="where to listen, in a container; 0 takes a free one")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on with --port (default: %(default)s)"
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        default=Path(__file__).absolute().parents[2],
        help="folder with bento.yaml (default: the one that holds this file)",
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=_DRAIN,
        help="seconds for the requests in flight after SIGTERM (default: %(default)g)",
    )
    return parser


def _set_up_process() -> None:
    faulthandler.enable()  # a crash in native code leaves a traceback in the log
    logs.set_up()
    sys.dont_write_bytecode = True  # a bundle is only read
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a service prints shows at once
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    os.environ.setdefault("BENTOML_CONFIG_OPTIONS", _QUIET)


def _run(server: _Server, listener: socket.socket) -> int:
    try:
        server.run(sockets=[listener])
    except SystemExit:
        if server.started:
            raise
        return 1  # uvicorn has logged what the service raised
    return 0


def _application(bundle: Path) -> Any:
    """The Bento's ASGI application, as BentoML's own worker sets it up (1.4: _bentoml_impl.worker.service).

    Changes into the Bento's source folder, where the service's relative paths begin.
    """
    import bentoml  # after its environment variables are set
    from bentoml._internal.container import BentoMLContainer  # no public way in 1.4
    from bentoml._internal.context import server_context  # the same
    from bentoml._internal.server.metrics.prometheus import PrometheusClient

    BentoMLContainer.metrics_client.set(PrometheusClient(multiproc=False))  # we are the only process
    service = bentoml.load(os.fspath(bundle), standalone_load=True)
    BentoMLContainer.development_mode.set(False)
    server_context.service_type = "entry_service"
    server_context.service_name = service.name
    server_context.service_routes = [api.route for api in service.apis.values()]
    server_context.bento_name = service.bento.tag.name
    server_context.bento_version = service.bento.tag.version or "not available"
    return service.to_asgi(is_main=True)


class _Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn is not there where types are checked
    """uvicorn's server, which says when it is ready, and which ends on SIGTERM whatever else goes on.

    ``held`` is what has to be put away before the process ends by force.
    """

    def __init__(self, application: Any, held: ExitStack, *, drain: float, began: float) -> None:
        config = uvicorn.Config(
            application,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
        )
        config.timeout_graceful_shutdown = drain  # which the constructor takes in whole seconds only
        super().__init__(config)
        self._held = held
        self._drain = drain
        self._began = began

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        gc.collect()
        gc.freeze()  # what is loaded now stays: the collector need not look at it again
        log.info("ready after %.1f s", time.monotonic() - self._began)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.started and sig == signal.SIGTERM:
            log.info("stopped before it was ready")
            self._leave()  # the model may load for a long time yet
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("stopping; requests in flight: %d", len(self.server_state.tasks))
        last = threading.Timer(self._drain + _AFTER_DRAIN, self._leave)
        last.daemon = True
        last.start()  # a thread in native code can be neither cancelled nor awaited
        await super().shutdown(sockets=sockets)
        log.info("stopped")

    def _leave(self) -> NoReturn:
        self._held.close()
        os._exit(0)


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


@contextmanager
def _bound_port(host: str, port: int) -> Iterator[socket.socket]:
    """A TCP socket bound to an address of this machine. Raises OSError where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        log.info("port %d of %s", listener.getsockname()[1], host)
        yield listener


@contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    """A socket bound to a path that only we may use; the file goes when we do.

    Raises OSError where the path is too long, is taken by a living server, or is not a socket.
    """
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(before)
    path.chmod(0o600)
    ours = path.stat().st_ino
    try:
        yield listener
    finally:
        listener.close()
        if path.exists() and path.stat().st_ino == ours:
            path.unlink()


def _remove_stale(path: Path) -> None:
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(f"{path} is no socket; it is left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(os.fspath(path)) == 0:
            raise FileExistsError(f"another process serves on {path}")
    path.unlink()


if __name__ == "__main__":
    sys.exit(main())
