"""Where a worker listens: a path that is ours alone, or a port."""

from __future__ import annotations

import logging
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("mdeploy_serving")


@dataclass(frozen=True, slots=True)
class Place:
    """A socket that is bound, and how to let nobody find it any more."""

    listener: socket.socket
    withdraw: Callable[[], None] = lambda: None
    check: Callable[[], None] = lambda: None
    """To be called before clients are let in. Raises OSError where they would find somebody else."""


@contextmanager
def bound_port(host: str, port: int) -> Iterator[Place]:
    """A TCP socket bound to an address of this machine. Raises OSError where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        log.info("port %d of %s", listener.getsockname()[1], host)
        yield Place(listener)


@contextmanager
def bound_path(path: Path) -> Iterator[Place]:
    """A socket bound to a path that only we may use; the file goes when we do.

    Raises OSError where the path is too long, is taken by a living server, or is not a socket.
    """
    remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(before)
    path.chmod(0o600)
    ours = path.stat().st_ino

    def found() -> bool:
        return path.exists() and path.stat().st_ino == ours

    def withdraw() -> None:
        if found():
            path.unlink()

    def check() -> None:  # a socket that is bound and not listened on looks as a dead server's does
        if not found():
            raise FileExistsError(f"{path} was taken by another process, or removed, while this one started")

    try:
        yield Place(listener, withdraw, check)
    finally:
        listener.close()
        withdraw()


def remove_stale(path: Path) -> None:
    """Take away the socket of a server that died. Raises OSError for one that lives or is no socket."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(f"{path} is no socket; it is left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(os.fspath(path)) == 0:
            raise FileExistsError(f"another process serves on {path}")
    path.unlink()
