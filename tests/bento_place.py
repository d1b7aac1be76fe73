"""Requests to two servers of one service, and what differs between their answers."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Address = tuple[str, int]

JSON = {"content-type": "application/json"}
COMPARED = (
    *("content-type", "server", "allow", "location", "set-cookie", "content-disposition"),
    *("x-made", "x-own", "x-stamp", "access-control-allow-origin", "access-control-allow-methods"),
)
"""Headers that have to be equal. Others (dates, lengths, ids, what a server itself adds) may differ."""
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    body: bytes = b""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.body[:60]!r} {dict(self.headers)}"


@dataclass(frozen=True)
class Answered:
    status: int
    body: object
    headers: Mapping[str, str | None]


def said(path: str, value: object, **headers: str) -> Asked:
    """A request with a JSON body."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Asked(path, json.dumps(value).encode(), headers={**JSON, **named})


def ask(address: Address, asked: Asked) -> Answered:
    """Send it on a connection of its own."""
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request(asked.method, asked.path, asked.body, dict(asked.headers))
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    kept: dict[str, str | None] = {name: answer.headers.get(name) for name in COMPARED}
    kept["location"] = kept["location"] and kept["location"].replace(f":{address[1]}/", ":PORT/")
    kept["allow"] = kept["allow"] and ", ".join(sorted(kept["allow"].split(", ")))  # Starlette's is a set
    request_id = answer.headers.get("x-bentoml-request-id")
    kept["x-bentoml-request-id"] = request_id and _ID.sub("an id", request_id)
    return Answered(answer.status, _comparable(content, kept["content-type"]), kept)


def _comparable(content: bytes, kind: str | None) -> Any:
    """JSON by its value, NaN and the infinities as texts (no NaN equals another); the rest as bytes."""
    if not content or kind is None or "json" not in kind:
        return content
    return json.loads(content, parse_constant=str)


@dataclass(frozen=True)
class Both:
    """One service, served by ``bentoml serve`` and by the worker."""

    stock: Address
    lane: Address
    worker: subprocess.Popen[bytes]
    log: Path
    """The worker's."""


@contextmanager
def both(python: Path, bundle: Path, folder: Path, **env: str) -> Iterator[Both]:
    """Start both at once; at the end, both are gone."""
    folder.mkdir()
    common = {**os.environ, **env, "BENTOML_DO_NOT_TRACK": "True", "PYTHONDONTWRITEBYTECODE": "1"}
    stock, ours = ("127.0.0.1", _free_port()), ("127.0.0.1", _free_port())
    serve: list[str | Path] = [python.with_name("bentoml"), "serve", bundle]
    work: list[str | Path] = [python, "-m", "mdeploy_serving.worker"]
    log = folder / "worker.log"
    with log.open("wb") as told, (folder / "stock.log").open("wb") as stock_told:
        begun = [
            subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port)],
                env={**common, **more},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
            for command, port, more, file in (
                (serve, stock[1], {"BENTOML_HOME": str(folder / "home")}, stock_told),
                (work, ours[1], {"PYTHONPATH": str(bundle / "src")}, told),
            )
        ]
    try:
        for address, process in zip((stock, ours), begun, strict=True):
            _until_it_answers(address, process, folder)
        yield Both(stock, ours, begun[1], log)
    finally:
        for process in begun:
            _end(process)


def variant(bundle: Path, service: str, name: str, folder: Path) -> Path:
    """The same Bento, with another service of its module as the one to serve."""
    shutil.copytree(bundle, folder)
    path = folder / "bento.yaml"
    text = path.read_text()
    first, rest = text.split("\n", 1)
    assert first.startswith("service: ")
    text = f"{first.partition(':')[0]}: users_services:{service}\n{rest}"
    path.write_text(re.sub(r"(entry_service: |services:\n- name: )many", rf"\g<1>{name}", text))
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until_it_answers(address: Address, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            ask(address, Asked("/nowhere", method="GET"))
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("\n".join(path.read_text() for path in folder.glob("*.log")))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
