"""Registries that lie, stall, or hold what somebody put there who may write to them and to nothing else."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import small_bundles
from audit_records import record
from modeldeploy import ops
from modeldeploy.audit import chain, timeline
from modeldeploy.audit.chain import Entry
from modeldeploy.audit.log import Log
from modeldeploy.bundle import manifest
from modeldeploy.bundle.manifest import File, Manifest
from modeldeploy.cli.main import main
from modeldeploy.errors import BundleError, RegistryRefused
from modeldeploy.model import BundleRef, Level
from modeldeploy.oci import manifest as oci
from modeldeploy.oci.descriptor import Descriptor, digest_of
from modeldeploy.ops.auditing import current_command
from modeldeploy.ops.evidence import approvals_in
from modeldeploy.registry.folder import FolderRegistry
from modeldeploy.registry.remote import refusals, wire
from modeldeploy.registry.remote.address import Address
from modeldeploy.registry.remote.refusals import Broken
from modeldeploy.registry.remote.wire import Ask, Wire

ESCAPE = "\x1b[31m"
FILE = File("src/a.py", "0" * 64, 1)


def hostile(**changes: Any) -> bytes:
    """A manifest in its canonical form, with fields that mdeploy itself would never write."""
    honest = Manifest("digits", "1.0.0", "custom", "s:S", (), "3.11", "sha256:0", (), files=(FILE,))
    Manifest.from_bytes(honest.to_bytes())
    return manifest.canonical(json.loads(honest.to_bytes()) | changes)


@pytest.mark.parametrize(
    "version",
    [
        "../../../../x",
        "../other/1.0.0",
        "..",
        "",
        "1\0",
        f"1{ESCAPE}",
        "1;id",
        "1" * 5000,
        "1\n",
        "-1",
        1,
        None,
    ],
)
@pytest.mark.parametrize("field", ["name", "version"])
def test_what_a_bundle_is_called_cannot_be_a_path_or_a_command(field: str, version: object) -> None:
    with pytest.raises(BundleError, match="can be no name or version"):
        Manifest.from_bytes(hostile(**{field: version}))


@pytest.mark.parametrize(
    "entries",
    [
        [{"sha256": "../../../../../home/x"}],
        [{"sha256": "A" * 64}],
        [{"size": -1}],
        [{"size": 1 << 60}],
        [{"path": "a"}, {"path": "a", "sha256": "1" * 64}],
        [{"path": "a"}, {"path": "a/b"}],
        [{"path": "a/b/c"}, {"path": "a/b"}],
        [{"path": "mdeploy.json"}],
        [{"path": "mdeploy-build.json"}],
    ],
)
def test_a_manifest_lists_files_that_can_be(entries: list[dict[str, object]]) -> None:
    listed = sorted(({**FILE.to_json(), **each} for each in entries), key=lambda one: str(one["path"]))
    with pytest.raises(BundleError, match=r"digest and size|stands for two things"):
        Manifest.from_bytes(hostile(files=listed))


def test_a_version_that_is_a_path_writes_nothing_outside_of_the_store(tmp_path: Path, home: Path) -> None:
    root = small_bundles.project(tmp_path / "project", tmp_path / "registry")
    small_bundles.put(b"model")
    ops.push(root, "1.0.0", image=False, emit=lambda _: None)
    repository = FolderRegistry(tmp_path / "registry").repository("digits")
    tagged = repository.tag("1.0.0.bundle")
    assert tagged
    packed = json.loads(repository.manifest(tagged.digest))
    config = repository.layout.blobs.read(packed["config"]["digest"], largest=1 << 20)
    evil = manifest.canonical(json.loads(config) | {"version": "../../../../planted"})
    repository.layout.blobs.write(evil, renamed := digest_of(evil))
    packed["config"] |= {"digest": renamed, "size": len(evil)}
    put = repository.put_manifest(json.dumps(packed).encode(), tagged.media_type)
    repository.set_tag("prod.bundle", put, was=None)
    with pytest.raises((BundleError, RegistryRefused)):
        ops.pull(root, "@prod", emit=lambda _: None)
    assert not list(tmp_path.rglob("planted*")) and not list(home.parent.glob("planted*"))


def test_an_image_in_another_ones_place_is_noticed_and_not_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSIGN_PASSWORD", "words")
    root = small_bundles.project(tmp_path / "project", tmp_path / "registry")
    (root / "model.onnx").write_bytes(b"model")
    small_bundles.put(b"model")
    ops.push(root, "1.0.0", image=False, emit=lambda _: None)
    key = ops.keygen(root)
    repository = FolderRegistry(tmp_path / "registry").repository("digits")
    config = b'{"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/evil"]}}'
    described = Descriptor.of(config, oci.IMAGE_CONFIG)
    repository.layout.blobs.write(config, described.digest)
    image = oci.Manifest(described)
    repository.set_tag("1.0.0", repository.put_manifest(image.to_bytes(), image.media_type), was=None)
    told = {finding.check: finding for finding in ops.verify(root, "1.0.0", emit=lambda _: None)}
    assert told["image"].level is Level.ERROR
    assert "does not hold that bundle" in told["image"].message
    with pytest.raises(BundleError, match="was not made on this machine"):
        ops.sign(root, "1.0.0", key=str(key.private), emit=lambda _: None)
    assert not [tag for tag in repository.tags() if tag.endswith(".sig")]


@pytest.mark.parametrize("place", ["index.json", "oci-layout", "blob"])
def test_a_pipe_in_a_registrys_folder_keeps_nobody_waiting(place: str, tmp_path: Path) -> None:
    root = small_bundles.project(tmp_path / "project", tmp_path / "registry")
    small_bundles.put(b"model")
    ops.push(root, "1.0.0", image=False, emit=lambda _: None)
    folder = tmp_path / "registry" / "digits"
    tagged = FolderRegistry(tmp_path / "registry").repository("digits").tag("1.0.0.bundle")
    assert tagged
    path = folder / place if place != "blob" else folder / "blobs" / "sha256" / tagged.digest[7:]
    path.unlink()
    os.mkfifo(path)
    began = time.monotonic()
    with pytest.raises(RegistryRefused, match="it is no file"):
        ops.pull(root, "@prod" if place != "blob" else "1.0.0", source=None, emit=lambda _: None)
    assert time.monotonic() - began < 5


def test_a_lock_that_is_another_name_of_our_file_leaves_that_file_alone(tmp_path: Path) -> None:
    root = small_bundles.project(tmp_path / "project", tmp_path / "registry")
    small_bundles.put(b"model")
    (tmp_path / "registry" / "digits").mkdir(parents=True)
    (tmp_path / "registry").chmod(0o777)
    own = tmp_path / "own"
    own.write_text("mine")
    own.chmod(0o600)
    os.link(own, tmp_path / "registry" / "digits" / "index.lock")
    with pytest.raises(RegistryRefused, match="second name"):
        ops.push(root, "1.0.0", image=False, emit=lambda _: None)
    assert own.stat().st_mode & 0o777 == 0o600
    assert own.read_text() == "mine"


# The audit log: entries that another program than mdeploy has appended.

BUNDLE = BundleRef("digits", "1.0.0", f"sha256:{'0' * 64}")
MOVE = {"at": 1.0, "weights": {"1.0.0-ab": 100}, "stable": "1.0.0-ab"}
ODD: list[dict[str, Any]] = [
    {"at": 1e300},
    {"at": -1e300},
    {"at": 10**400},
    {"data": {"traffic": "x"}},
    {"data": {"traffic": [1]}},
    {"data": {"before": "x"}},
    {"data": {"traffic": [MOVE | {"weights": ["a"]}]}},
    {"data": {"traffic": [MOVE | {"weights": {"a": "b"}}]}},
    {"data": {"traffic": [MOVE | {"weights": {"a": 10**400}}]}},
    {"data": {"traffic": [MOVE | {"at": "x"}]}},
    {"data": {"traffic": [MOVE], "outcome": ["promoted"]}},
    {"data": {"golden": "x", "source": "x", "policy": "x", "run": "x", "build": "x", "bundles": "x"}},
    {"data": {"checks": 5}},
    {"kind": "test", "data": {"checks": [5]}},
    {"data": {"judgements": "x"}},
    {"data": {"judgements": [{"measures": 5, "verdict": {}}]}},
    {"data": {"judgements": [{"measures": [5]}]}},
    {"kind": "approve", "data": {"for": ["prod"], "note": {}}},
    {"kind": f"other{ESCAPE}", "by": f"{ESCAPE}eve\u202e", "command": ESCAPE},
    {"target": f"{ESCAPE}\r\nprod", "bundle": BundleRef("digits", f"1{ESCAPE}", f"sha256:{ESCAPE}")},
    {"data": {"outcome": ESCAPE, "reason": f"\n\n{ESCAPE}", "build": {"commit": ESCAPE, "built": ESCAPE}}},
    {"data": {"judgements": [{"weight": 5, "verdict": ESCAPE, "measures": [{"note": ESCAPE}]}]}},
]


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_entry_keeps_nobody_from_reading_the_log(
    odd: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = small_bundles.project(tmp_path / "project", tmp_path / "registry")
    facts: dict[str, Any] = {
        "kind": "deploy",
        "target": "prod",
        "bundle": BUNDLE,
        "revision": "1.0.0-ab",
    } | odd
    log = Log(FolderRegistry(tmp_path / "registry").repository("digits"), "digits")
    log.append([record(**facts)])
    entries = log.read()
    assert entries[0].to_line() or odd
    timeline.steady_since(entries, "prod", BUNDLE.digest, time.time())
    approvals_in(entries, "prod")
    for words in (["audit"], ["audit", "verify"], ["at", "now"], ["trace", "1.0.0-ab"]):
        code = main(["--project", str(root), *words])
        told = "".join(capfd.readouterr())
        assert code == 0, told
        assert "\x1b" not in told
        assert "\u202e" not in told


def test_an_entry_that_nobody_could_read_is_cut_short_before_it_is_chained(tmp_path: Path) -> None:
    log = Log(FolderRegistry(tmp_path).repository("digits"), "digits")
    log.append(
        [record(command="mdeploy " + "'" * chain.LONGEST, data={"note": "x" * chain.LONGEST}), record()]
    )
    first, _second = log.read()
    assert isinstance(first, Entry)
    assert "too long" in first.record.data["told"]


@pytest.mark.parametrize(
    ("typed", "overlay", "told"),
    [
        (["deploy", "prod"], "", "mdeploy deploy prod"),
        (["deploy", "prod"], "lax", "MDEPLOY_ENV=lax mdeploy deploy prod"),
        (["deploy", "prod", "--env", "lax"], "lax", "mdeploy deploy prod --env lax"),
        (["--env=lax", "deploy"], "lax", "mdeploy --env=lax deploy"),
    ],
)
def test_the_log_tells_which_overlay_a_command_was_run_with(
    typed: list[str], overlay: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/mdeploy", *typed])
    monkeypatch.setenv("MDEPLOY_ENV", overlay)
    assert current_command() == told


# Registries that are slow on purpose.


def _dripping(begin: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(begin)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return serve


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SLOW = {
    "a header": _dripping(b"HTTP/1.1 200 OK\r\n", b"X"),
    "an interim answer": _dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": _dripping(_HEAD + b"Content-Length: 4000000\r\n\r\n", b" "),
    "a chunk": _dripping(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "the length of a chunk": _dripping(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
}


@contextmanager
def _server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    serve(connection)

        threading.Thread(target=run, daemon=True).start()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("what", SLOW)
def test_a_registry_that_drips_is_left_in_the_end(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "READ", 1.0)
    monkeypatch.setattr("modeldeploy.registry.remote.hurry._MORE", 0.5)
    with _server(SLOW[what]) as port:
        url = f"http://127.0.0.1:{port}"
        began = time.monotonic()
        with pytest.raises(Broken):
            Wire(Address.parse(url), None).send(Ask("GET", f"{url}/v2/", "it", read=1.0), None).content(
                1 << 20, 2.0
            )
        assert time.monotonic() - began < 6


def test_an_answer_that_is_nested_without_end_is_told_as_what_it_is() -> None:
    assert refusals.said(b"[" * 100_000, "application/json")
