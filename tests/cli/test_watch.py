"""The commands that only look: status, history, logs, predict."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli import scenes
from cli.conftest import Type
from modeldeploy import ops
from modeldeploy.model import Holder
from modeldeploy.testing import FakeTarget, FakeWorld
from modeldeploy.testing import world as worlds


def result(out: str) -> dict[str, Any]:
    last: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert last["type"] == "result"
    told: dict[str, Any] = last["result"]
    return told


def test_status_shows_endpoint_revisions_weights_and_roles(mdeploy: Type, world: FakeWorld) -> None:
    typed = mdeploy("status")

    head, columns, row = typed.out.splitlines()[:3]
    assert typed.code == 0
    assert head == f"local  {world.observe().endpoint}  up"
    assert columns.split() == ["REVISION", "BUNDLE", "STATE", "WEIGHT", "REPLICAS", "ROLE", "AGE"]
    assert row.split()[:7] == ["1.0.0-3f2a9c1b", "digits:1.0.0", "ready", "100", "%", "2/2", "stable"]


def test_status_as_json_holds_what_programs_need(mdeploy: Type, world: FakeWorld) -> None:
    told = result(mdeploy("status", "--json").out)

    assert {"target", "up", "endpoint", "revisions", "rollout", "holder", "notes"} <= set(told)
    (revision,) = told["revisions"]
    assert revision["id"] == scenes.OLD.id
    assert revision["bundle"] == "digits:1.0.0"
    assert revision["digest"] == scenes.OLD.bundle.digest
    assert revision["state"] == "ready"
    assert revision["weight"] == 100
    assert revision["role"] == "stable"
    assert told["rollout"] is None


def test_status_of_several_targets_lists_them(mdeploy: Type, world: FakeWorld, project: Path) -> None:
    with (project / "modeldeploy.toml").open("a") as file:
        file.write('\n[targets.other]\ndriver = "process"\nport = 18081\n')

    assert [target["target"] for target in result(mdeploy("status", "--json").out)["targets"]] == [
        "local",
        "other",
    ]
    assert result(mdeploy("status", "other", "--json").out)["target"] == "other"
    assert mdeploy("history").code == 3


def test_status_of_an_empty_target_says_how_to_fill_it(mdeploy: Type, world: FakeWorld) -> None:
    mdeploy("destroy", "--yes")

    assert "nothing runs here; try: mdeploy deploy local" in mdeploy("status").out


def test_status_says_who_is_changing_the_target(mdeploy: Type, world: FakeWorld) -> None:
    holder = Holder("ada@laptop", 4711, "mdeploy deploy local", since=0.0)
    with FakeTarget(world).store.lock(holder):
        typed = mdeploy("status")

    assert "changing now: mdeploy deploy local by ada@laptop (pid 4711)" in typed.out


def test_status_works_while_another_table_of_the_file_is_wrong(
    mdeploy: Type, world: FakeWorld, project: Path
) -> None:
    with (project / "modeldeploy.toml").open("a") as file:
        file.write("\n[build]\nrequirementz = 3\n")

    assert mdeploy("status").code == 0


def test_logs_are_lines_without_what_a_terminal_would_obey(mdeploy: Type, world: FakeWorld) -> None:
    world.revisions[scenes.OLD.id].lines += ["one", "\x1b[31mtwo\x1b[0m"]

    assert mdeploy("logs", "--tail", "2").out == "one\ntwo\n"
    *lines, last = [json.loads(line) for line in mdeploy("logs", "--tail", "2", "--json").out.splitlines()]
    assert lines == [{"type": "log", "line": "one"}, {"type": "log", "line": "\x1b[31mtwo\x1b[0m"}]
    assert last["result"] == {"lines": 2}


def test_ctrl_c_is_how_one_stops_following_and_no_error(
    mdeploy: Type, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def follow(*_: object, **__: object) -> Iterator[str]:
        yield "one"
        raise KeyboardInterrupt

    monkeypatch.setattr(ops, "logs", follow)

    typed = mdeploy("logs", "--follow")

    assert (typed.code, typed.out, typed.err) == (130, "one\n", "")


def test_logs_of_a_revision_that_is_not_there_name_those_that_are(mdeploy: Type, world: FakeWorld) -> None:
    typed = mdeploy("logs", "--revision", "9.9.9")

    assert typed.code == 3
    assert "1.0.0-3f2a9c1b" in typed.err


def test_an_empty_history_says_so(mdeploy: Type, world: FakeWorld) -> None:
    assert mdeploy("history").out == "no rollouts on local yet\n"


class _Model(BaseHTTPRequestHandler):
    """Answers like a revision: echoes the body; 400 for a body that is not JSON."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            answer, status = {"got": json.loads(body), "path": self.path}, 200
        except ValueError:
            answer, status = {"error": "body: not JSON"}, 400
        self.send_response(status)
        self.send_header("x-model-version", "1.0.0-3f2a9c1b")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def endpoint(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The fake target's endpoint, answering on loopback."""
    server = HTTPServer(("127.0.0.1", 0), _Model)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(worlds, "ENDPOINT", address)
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


def test_predict_prints_the_answer_and_who_gave_it(mdeploy: Type, endpoint: str, project: Path) -> None:
    (project / "samples.json").write_text('{"x": [1, 2]}')

    typed = mdeploy("predict", "--input", "samples.json", "--path", "/other")

    assert typed.code == 0
    assert json.loads(typed.out) == {"got": {"x": [1, 2]}, "path": "/other"}
    assert typed.err.startswith("200 in ")
    assert typed.err.endswith("ms from 1.0.0-3f2a9c1b\n")


def test_predict_as_json_holds_status_and_revision(mdeploy: Type, endpoint: str, project: Path) -> None:
    (project / "samples.json").write_text("[1]")

    told = result(mdeploy("predict", "--input", "samples.json", "--json").out)

    assert told["status"] == 200
    assert told["revision"] == "1.0.0-3f2a9c1b"
    assert told["body"] == {"got": [1], "path": "/predict"}


def test_a_refused_input_is_shown_and_is_not_success(mdeploy: Type, endpoint: str, project: Path) -> None:
    (project / "samples.json").write_text("{")

    typed = mdeploy("predict", "--input", "samples.json")

    assert typed.code == 6
    assert "body: not JSON" in typed.out
    assert typed.err.startswith("400 in ")


def test_an_endpoint_that_does_not_answer_gets_a_hint(
    mdeploy: Type, world: FakeWorld, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worlds, "ENDPOINT", "http://127.0.0.1:1")
    (project / "samples.json").write_text("{}")

    typed = mdeploy("predict", "--input", "samples.json")

    assert typed.code == 6
    assert "does not answer" in typed.err
    assert "mdeploy up" in typed.err


def test_an_input_that_is_not_there_is_named(mdeploy: Type, world: FakeWorld) -> None:
    typed = mdeploy("predict", "--input", "samples.jsno")

    assert typed.code == 3
    assert typed.err == "error: --input: cannot read samples.jsno: No such file or directory\n"


def test_a_tensor_is_printed_by_rows(mdeploy: Type, endpoint: str, project: Path) -> None:
    (project / "samples.json").write_text(json.dumps({"x": [[0.125] * 8] * 3}))

    typed = mdeploy("predict", "--input", "samples.json")

    assert json.loads(typed.out)["got"]["x"] == [[0.125] * 8] * 3
    assert max(map(len, typed.out.splitlines())) < 100
    assert len(typed.out.splitlines()) < 16


@pytest.mark.parametrize("line", [b'{"kind": "start"}', b"[]", b"nonsense", b'{"kind": "zap"}'])
def test_a_journal_that_makes_no_sense_hides_nothing_else(
    line: bytes, mdeploy: Type, world: FakeWorld
) -> None:
    mdeploy("rollback")
    store = FakeTarget(world).store
    store.append("000007-1795363679", line)

    status, history = mdeploy("status"), mdeploy("history")

    assert (status.code, history.code) == (0, 0)
    assert "1.0.0-3f2a9c1b" in status.out
    assert "note: line 1 of the journal of rollout 000007-1795363679 cannot be read" in status.out
    assert [word for word in history.out.split() if word.startswith("un")] == ["unreadable", "unknown"]
    assert mdeploy("rollback").code == 12
