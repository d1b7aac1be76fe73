"""A real registry on loopback, Debian's ``docker-registry``, in the forms that users meet."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from needs import need
from registry_faults import Secured

PROGRAM = "docker-registry"
USER, PASSWORD = "ada", "correct horse"
BCRYPT = "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"


@dataclass(frozen=True)
class Place:
    """One registry that runs."""

    folder: Path
    """Where it keeps what it has."""
    url: str
    host: str
    log: Path
    ca: Path | None = None
    secured: Secured | None = None
    """For a proxy before it, where it speaks TLS."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def blobs(self) -> int:
        """How many blobs and manifests are kept."""
        return sum(1 for _ in self.folder.rglob("blobs/sha256/*/*/data"))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def registry(
    folder: Path,
    *,
    auth: str = "",
    tls: bool | Secured = False,
    deletes: bool = True,
    token: Any = None,
) -> Iterator[Place]:
    """A registry with nothing in it. ``auth``: nothing, ``basic`` or ``bearer`` (``token`` is its server).

    ``tls`` may be the certificate to use.
    """
    need(shutil.which(PROGRAM), f"{PROGRAM} (apt-get install docker-registry)")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    http: dict[str, Any] = {"addr": f"127.0.0.1:{port}", "secret": "of-this-test"}
    secured: Secured | None = None
    if tls:
        from tls_place import authority

        secured = tls if isinstance(tls, Secured) else Secured(*authority(folder / "tls"))
        http["tls"] = {"certificate": str(secured.certificate), "key": str(secured.key)}
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "kept")},
            "delete": {"enabled": deletes},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": http,
    }
    if auth == "basic":
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(_htpasswd(folder / "htpasswd"))}}
    if auth == "bearer":
        config["auth"] = {
            "token": {
                "realm": token.url,
                "service": "tests",
                "issuer": "tests",
                "rootcertbundle": str(token.certificate),
            }
        }
    path, log = folder / "config.yml", folder / "log"
    path.write_text(json.dumps(config))  # JSON is YAML too
    scheme = "https" if tls else "http"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PROGRAM, "serve", str(path)], stdout=output, stderr=output, start_new_session=True
        )
    try:
        _await(port, process, log)
        url, ca = f"{scheme}://127.0.0.1:{port}/team", secured.authority if secured else None
        yield Place(folder / "kept", url, f"127.0.0.1:{port}", log, ca, secured, [process])
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"the registry did not start: {log.read_text()}")


def _htpasswd(path: Path) -> Path:
    """The registry takes bcrypt only; this is the hash of `PASSWORD`, cost 4."""
    path.write_text(f"{USER}:{BCRYPT}\n")
    return path


def login(folder: Path, host: str, user: str = USER, password: str = PASSWORD, **more: Any) -> Path:
    """A Docker configuration folder as ``docker login`` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}, **more}))
    return folder


def helper(folder: Path, name: str, script: str, monkeypatch: Any) -> Path:
    """A credential helper on the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return path
