"""What goes wrong with processes, files and ports, and what the target tells about it."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldeploy import files
from modeldeploy.errors import TargetRefused, TargetUnavailable
from modeldeploy.model import HttpRequest, Level, RevisionSpec, Traffic
from modeldeploy.testing.place import send_over_http
from process_place import Scene, eventually, free_port, scene

pytestmark = pytest.mark.story
PROBE = HttpRequest("GET", "/", timeout=5)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as stage:
        yield stage


def all_to(revision: RevisionSpec) -> Traffic:
    return Traffic({revision.id: 100}, revision.id, ())


def answers(endpoint: str) -> bool:
    try:
        return send_over_http(endpoint, PROBE, 1)[0].status == 200
    except OSError:
        return False


def message(stage: Scene, revision: RevisionSpec) -> str:
    found = stage.target.observe().find(revision.id)
    assert found is not None
    return found.message


def test_a_crash_loop_fails_and_says_why_with_the_last_lines(stage: Scene) -> None:
    broken = stage.spec("1.0.0", EXIT_CODE="3")
    stage.target.create(broken)
    stage.until_state(broken, "failed")
    assert "exited with code 3, 5 times before it was ready" in message(stage, broken)
    assert "cannot load the model: it is not there" in message(stage, broken)
    assert "cannot load the model: it is not there" in list(stage.target.logs(broken.id, tail=20))


def test_creating_a_failed_revision_tries_again(stage: Scene) -> None:
    flaw = stage.folder / "flaw"
    flaw.touch()
    script = f'test ! -e "{flaw}" && touch "$0" || {{ echo no network; exit 4; }}'
    late = stage.spec("1.0.0", PREPARE=script)
    stage.target.create(late)
    stage.until_state(late, "failed")
    assert message(stage, late) == "preparing its environment exited with code 4: no network"
    time.sleep(0.5)
    stage.until_state(late, "failed")
    flaw.unlink()
    stage.target.create(late)
    stage.until_state(late, "ready")


def test_an_environment_that_is_being_prepared_is_adopted(stage: Scene) -> None:
    slow = stage.spec("1.0.0", PREPARE='echo begun; sleep 2; touch "$0"')
    stage.target.create(slow)
    active, _ = stage.until_paired()
    eventually(lambda: list(stage.target.logs(slow.id, tail=9)) == ["begun"], "begun")
    os.kill(active, signal.SIGKILL)
    stage.until_state(slow, "ready")
    assert list(stage.target.logs(slow.id, tail=9)).count("begun") == 1


def test_up_tries_again_what_failed_before_a_reboot(stage: Scene) -> None:
    flaw = stage.folder / "flaw"
    flaw.touch()
    late = stage.spec("1.0.0", PREPARE=f'test ! -e "{flaw}" && touch "$0"')
    stage.target.create(late)
    stage.until_state(late, "failed")
    stage.until_paired()
    stage.until_power_cut()
    flaw.unlink()
    stage.target.start()
    stage.until_state(late, "ready")


def test_a_revision_that_was_ready_once_is_never_given_up(stage: Scene) -> None:
    good = stage.spec("1.0.0")
    stage.run(good)
    for _ in range(5):
        pid = stage.pid_of_worker(good)
        os.kill(pid, signal.SIGKILL)
        stage.until_restarted(good, 0, pid)
    stage.until_state(good, "ready")
    found = stage.target.observe().find(good.id)
    assert found is not None
    assert found.restarts == 5


def test_a_port_in_use_is_refused_and_found_by_check(stage: Scene) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", stage.port))
        other.listen()
        found = [one for one in stage.target.check() if one.check == "port"]
        assert found[0].level is Level.ERROR
        assert "change `port`" in found[0].remedy
        with pytest.raises(
            TargetRefused, match=f"port {stage.port} .* is in use by .*pid {os.getpid()}"
        ) as refused:
            stage.target.create(stage.spec("1.0.0"))
        assert "change `port`" in (refused.value.hint or "")
        assert stage.target.observe().revisions == ()
    assert [one.level for one in stage.target.check() if one.check == "port"] == [Level.OK]


def test_another_target_on_the_same_port_is_named(stage: Scene) -> None:
    from modeldeploy.targets.process import ProcessTarget

    stage.run(stage.spec("1.0.0"))
    stage.until(lambda found: found.up, "up")
    other = ProcessTarget("digits", "other", {"port": stage.port}, supervisor=stage.supervisor)
    with pytest.raises(TargetRefused, match="in use by the mdeploy target digits/local"):
        other.create(stage.spec("1.0.0"))


def test_the_next_create_moves_the_endpoint_to_a_new_port(stage: Scene) -> None:
    one, two = stage.spec("1.0.0"), stage.spec("2.0.0")
    stage.run(one)
    stage.route(all_to(one))
    stage.port = free_port()
    moved = stage.open()
    assert f"the project file says http://127.0.0.1:{stage.port}" in " ".join(moved.observe().notes)
    moved.create(two)
    endpoint = f"http://127.0.0.1:{stage.port}"
    assert moved.observe().endpoint == endpoint
    eventually(lambda: answers(endpoint), "answers there")


def test_a_port_taken_while_the_machine_was_down_is_told_and_waited_for(stage: Scene) -> None:
    one = stage.spec("1.0.0")
    stage.run(one)
    stage.route(all_to(one))
    stage.until_paired()
    stage.until_power_cut()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", stage.port))
        other.listen()
        stage.target.start()
        stage.until(lambda found: "the router cannot start" in " ".join(found.notes), "told")
        assert not stage.target.observe().up
    stage.until(lambda found: found.up and not found.notes, "up")
    stage.until_routed(all_to(one))


def test_an_envoy_that_is_not_there_is_told(tmp_path: Path) -> None:
    from modeldeploy.targets.process import ProcessTarget

    with scene(tmp_path) as stage:
        options = {"port": stage.port, "envoy": "/no/such/envoy"}
        stage.target = ProcessTarget("digits", "local", options, supervisor=stage.supervisor)
        assert [one.level for one in stage.target.check() if one.check == "envoy"] == [Level.ERROR]
        stage.target.create(stage.spec("1.0.0"))
        stage.until(lambda found: "/no/such/envoy" in " ".join(found.notes), "told")


def test_nonsense_in_its_files_stops_nothing_that_runs(stage: Scene) -> None:
    one, two = stage.spec("1.0.0"), stage.spec("2.0.0")
    stage.run(one, two)
    stage.route(all_to(one))
    wishes = stage.layout.desired.read_text()
    stage.layout.desired.write_text('{"listen": ')
    stage.layout.report.write_text("\x00")
    (stage.layout.revisions / "odd").mkdir()
    (stage.layout.revisions / "odd" / "spec.json").write_text("[]")
    (stage.layout.revisions / "empty").mkdir()
    time.sleep(1.5)
    endpoint = f"http://127.0.0.1:{stage.port}"
    assert answers(endpoint)
    with pytest.raises(TargetRefused, match="make no sense") as refused:
        stage.target.observe()
    assert "mdeploy destroy local" in (refused.value.hint or "")
    active, _ = stage.until_paired()
    os.kill(active, signal.SIGKILL)  # the next one has only the nonsense to begin from
    time.sleep(1.0)
    assert answers(endpoint)
    files.write_atomic(stage.layout.desired, wishes.encode())
    stage.route(all_to(two))
    assert "odd/spec.json makes no sense" in " ".join(stage.target.observe().notes)


def test_destroy_works_whatever_the_wishes_say(stage: Scene) -> None:
    stage.run(stage.spec("1.0.0"))
    stage.layout.desired.write_text("nonsense")
    stage.target.destroy()
    eventually(lambda: not stage.layout.desired.exists() and not stage.everything(), "gone", within=20)


def test_everything_ends_when_its_folder_is_removed(stage: Scene) -> None:
    one = stage.spec("1.0.0")
    stage.run(one)
    stage.route(all_to(one))
    stage.until_paired()
    alive = stage.everything()
    shutil.rmtree(stage.layout.root)
    eventually(lambda: not any(map(runs, alive)), "ended", within=20)


def test_a_deletion_is_called_off_by_creating_again(stage: Scene) -> None:
    one, two = stage.spec("1.0.0"), stage.spec("2.0.0")
    stage.run(one, two)
    stage.route(all_to(one))
    before = stage.pid_of_worker(two)
    stage.target.delete(two.id, grace=5.0)
    stage.target.create(two)
    stage.until_state(two, "ready")
    time.sleep(0.5)
    stage.route(all_to(two))
    assert stage.pid_of_worker(two) == before


def test_a_way_back_is_not_barred_by_a_limp(stage: Scene) -> None:
    limps, other = stage.spec("1.0.0", replicas=2), stage.spec("2.0.0")
    stage.run(limps, other)
    stage.route(all_to(other))
    os.kill(stage.pid_of_worker(limps, 1), signal.SIGSTOP)
    stage.until_state(limps, "degraded")
    stage.route(all_to(limps))
    os.kill(stage.pid_of_worker(limps, 1), signal.SIGCONT)


def test_workers_see_their_variables_and_no_secret_of_the_terminal(
    stage: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "terminal-secret")
    one = stage.spec("1.0.0", API_KEY="revision-secret")
    stage.run(one)
    seen = stage.ask("/env", revision=one)
    assert "API_KEY=revision-secret" in seen
    assert "terminal-secret" not in seen
    assert "revision-secret" not in repr(stage.target.observe())
    for path in stage.layout.root.rglob("*"):
        if path.is_file() and "secret" in path.read_text(errors="replace"):
            assert path.name == "spec.json"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "revision-secret" not in listed


def test_a_home_with_spaces_and_other_letters_and_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDEPLOY_HOME", str(tmp_path / "Ordner für Käse 'n\" Co" / ("x" * 90)))
    with scene(tmp_path / "ein Bündel") as stage:
        one = stage.spec("1.0.0", replicas=2)
        stage.run(one)
        stage.route(all_to(one))
        assert answers(f"http://127.0.0.1:{stage.port}")


def test_only_loopback_listens(stage: Scene) -> None:
    one = stage.spec("1.0.0")
    stage.run(one)
    stage.until(lambda found: found.up, "up")
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", stage.port))  # would fail if Envoy listened on all addresses


def test_logs_follow_a_revision_to_its_end(stage: Scene) -> None:
    one = stage.spec("1.0.0")
    stage.run(one)
    lines = stage.target.logs(one.id, tail=1, follow=True)
    assert next(lines) == f"worker {one.id} starts"
    with pytest.raises(TargetUnavailable):
        stage.ask("/crash", revision=one)
    assert next(lines) == "told to crash"
    assert "worker 0 exited with code 3; starts again in 0.1 s" in next(lines)
    stage.until_state(one, "ready")
    stage.target.delete(one.id, grace=0.0)
    rest = list(lines)
    assert rest[0] == f"worker {one.id} starts"


def runs(pid: int) -> bool:
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(shown.stdout.strip()) and not shown.stdout.strip().startswith("Z")


def test_a_supervisor_that_hangs_is_told_with_what_to_do_and_the_standby_does_it(stage: Scene) -> None:
    good = stage.spec("1.0.0")
    stage.run(good)
    stage.until(lambda seen: seen.up, "up")
    active, _ = stage.until_paired()
    os.kill(active, signal.SIGSTOP)
    stage.target.set_traffic(all_to(good))
    asked = time.time() - 60
    for path in (stage.layout.desired, stage.layout.active_lock):
        os.utime(path, (asked, asked))
    notes = stage.target.observe().notes
    assert any(f"kill -9 {active}" in note for note in notes), notes
    os.kill(active, signal.SIGKILL)
    stage.until(lambda seen: seen.traffic == all_to(good) and not seen.notes, "taken over")
