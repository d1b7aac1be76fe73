"""Whether a port is free to listen on, and if not, who has it."""

from __future__ import annotations

import errno
import shutil
import socket
from contextlib import suppress
from pathlib import Path

from modeldeploy import files

_LISTENING = "0A"


def why_not(host: str, port: int) -> str | None:
    """Why nothing can listen there, for people; None if it can.

    >>> why_not("127.0.0.1", 0) is None
    True
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        return _reason(host, port, error)
    return None


def _reason(host: str, port: int, error: OSError) -> str:
    where = f"port {port} on {host}"
    if error.errno == errno.EADDRINUSE:
        holder = _mdeploy_target(port) or _program(port)
        return f"{where} is in use{f' by {holder}' if holder else ''}"
    if error.errno == errno.EACCES:
        return f"{where} is reserved for the administrator; use one above 1023"
    return f"cannot listen on {where}: {error.strerror or error}"


def _mdeploy_target(port: int) -> str | None:
    """Another target of ours that listens there, as ``the mdeploy target PROJECT/NAME``."""
    with suppress(OSError, ValueError):
        for desired in (files.home() / "targets").glob("*/*/desired.json"):
            wanted = files.read_json(desired) or {}
            if wanted.get("listen", {}).get("port") == port and files.is_locked(
                desired.parent / "envoy.lock"
            ):
                return f"the mdeploy target {desired.parent.parent.name}/{desired.parent.name}"
    return None


def _program(port: int) -> str | None:
    return _by_proc(port) or _by_lsof(port)


def _by_proc(port: int) -> str | None:
    """On Linux: the socket's inode from the table of connections, then whose descriptor it is."""
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{columns[9]}]")
    if inodes:
        for folder in Path("/proc").glob("[0-9]*/fd"):
            with suppress(OSError):
                if any(str(entry.readlink()) in inodes for entry in folder.iterdir()):
                    return f"{(folder.parent / 'comm').read_text().strip()} (pid {folder.parent.name})"
    return None


def _by_lsof(port: int) -> str | None:
    from modeldeploy.shell import ToolFailed, run  # subprocess takes 12 ms, and `status` loads this module

    if shutil.which("lsof") is None:
        return None
    with suppress(ToolFailed):
        found = run(["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"], timeout=5).output.splitlines()
        told = {line[:1]: line[1:] for line in reversed(found)}
        if "c" in told and "p" in told:
            return f"{told['c']} (pid {told['p']})"
    return None
