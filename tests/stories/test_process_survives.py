"""Things die; users of the endpoint should hardly notice, and nobody has to get up.

What users see is measured in docs/explanation/what-users-see.md; here it is only bounded, generously.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modeldeploy import files
from modeldeploy.model import RevisionSpec, Traffic
from modeldeploy.targets.process.locks import pid_in
from process_place import Scene, eventually, scene
from users import Users, users

pytestmark = pytest.mark.story


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as stage:
        yield stage


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(pid, number)


def all_to(revision: RevisionSpec, *fallback: RevisionSpec) -> Traffic:
    return Traffic({revision.id: 100}, revision.id, tuple(one.id for one in fallback))


def under_load(stage: Scene, act: Callable[[], object], *, watch: float = 2.0) -> tuple[Users, float]:
    """What users see around an act: they begin a second before it."""
    endpoint = stage.target.observe().endpoint
    assert endpoint
    with users(endpoint) as seen:
        time.sleep(1.0)
        moment = time.monotonic()
        act()
        time.sleep(watch)
    return seen, seen.outage(moment)


def test_a_killed_worker_comes_back_by_itself(stage: Scene) -> None:
    only = stage.spec("1.0.0")
    stage.run(only)
    stage.route(all_to(only))
    seen, outage = under_load(stage, lambda: kill(stage.pid_of_worker(only)), watch=4.0)
    assert outage < 3.0, seen.summary(0.0)
    revision = stage.until_state(only, "ready").find(only.id)
    assert revision is not None
    assert revision.restarts == 1
    assert "was killed by SIGKILL" in " ".join(stage.target.logs(only.id, tail=10))


def test_nobody_notices_a_killed_worker_that_has_a_sibling(stage: Scene) -> None:
    pair = stage.spec("1.0.0", replicas=2)
    stage.run(pair)
    stage.route(all_to(pair))
    seen, _ = under_load(stage, lambda: kill(stage.pid_of_worker(pair, 1)))
    assert not seen.failures, seen.summary(0.0)


def test_the_fallback_answers_for_a_killed_worker_and_says_so(stage: Scene) -> None:
    new, old = stage.spec("2.0.0"), stage.spec("1.0.0")
    stage.run(new, old)
    stage.route(all_to(new, old))
    seen, _ = under_load(stage, lambda: kill(stage.pid_of_worker(new)))
    assert not seen.failures, seen.summary(0.0)
    assert seen.by_revision[old.id] > 0


def test_a_killed_router_is_back_in_a_moment_with_all_it_knew(stage: Scene) -> None:
    one, two = stage.spec("1.0.0"), stage.spec("2.0.0")
    stage.run(one, two)
    traffic = Traffic({one.id: 50, two.id: 50}, one.id, (one.id,))
    stage.route(traffic)
    seen, outage = under_load(stage, lambda: kill(stage.pid_of_router), watch=4.0)
    assert outage < 3.0, seen.summary(0.0)
    assert stage.until(lambda found: found.up, "up").traffic == traffic


def test_nobody_notices_a_killed_supervisor_and_the_next_one_adopts_all(stage: Scene) -> None:
    only = stage.spec("1.0.0", replicas=2)
    stage.run(only)
    stage.route(all_to(only))
    active, standby = stage.until_paired()
    before = [stage.pid_of_router, *(stage.pid_of_worker(only, number) for number in (0, 1))]
    seen, _ = under_load(stage, lambda: kill(active))
    assert not seen.failures, seen.summary(0.0)
    assert stage.pid_of_supervisor == standby
    assert stage.until_paired()[1] not in {active, standby}
    after = [stage.pid_of_router, *(stage.pid_of_worker(only, number) for number in (0, 1))]
    assert after == before
    revision = stage.target.observe().find(only.id)
    assert revision is not None
    assert revision.restarts == 0


def test_an_adopted_worker_and_an_adopted_router_come_back_too(stage: Scene) -> None:
    only = stage.spec("1.0.0")
    stage.run(only)
    stage.route(all_to(only))
    active, _ = stage.until_paired()
    kill(active)
    stage.until_paired()
    worker, router = stage.pid_of_worker(only), stage.pid_of_router
    kill(worker)
    kill(router)
    stage.until_restarted(only, 0, worker)
    eventually(lambda: pid_in(stage.layout.router_lock) not in {None, router}, "router back")
    stage.until_state(only, "ready")
    stage.until(lambda found: found.up, "up")


def test_a_killed_standby_is_replaced(stage: Scene) -> None:
    stage.run(stage.spec("1.0.0"))
    active, standby = stage.until_paired()
    kill(standby)
    eventually(lambda: pid_in(stage.layout.standby_lock) not in {None, standby}, "another standby")
    assert stage.until_paired()[0] == active


def test_without_any_supervisor_users_are_served_and_the_next_command_brings_one_back(stage: Scene) -> None:
    one, two = stage.spec("1.0.0"), stage.spec("2.0.0")
    stage.run(one, two)
    stage.route(all_to(one))
    active, standby = stage.until_paired()
    workers = [stage.pid_of_worker(one), stage.pid_of_worker(two)]
    kill(active, signal.SIGSTOP)  # or it would replace the standby before its own turn comes
    kill(standby)
    kill(active)
    eventually(lambda: not files.is_locked(stage.layout.active_lock), "nobody supervises")
    seen, _ = under_load(stage, lambda: None, watch=0.5)
    assert not seen.failures, seen.summary(0.0)
    observed = stage.target.observe()
    assert observed.up
    assert "mdeploy up local" in " ".join(observed.notes)
    assert observed.revisions[0].state.value == "ready"
    stage.route(all_to(two))  # any command that changes something
    stage.until_paired()
    assert [stage.pid_of_worker(one), stage.pid_of_worker(two)] == workers


def test_after_a_reboot_everything_is_told_as_stopped_and_one_command_brings_it_back(stage: Scene) -> None:
    one, two = stage.spec("1.0.0", replicas=2), stage.spec("2.0.0")
    stage.run(one, two)
    traffic = Traffic({one.id: 90, two.id: 10}, one.id, (one.id,))
    stage.route(traffic)
    stage.until_paired()
    stage.until_power_cut()
    observed = stage.target.observe()
    assert not observed.up
    assert {revision.state.value for revision in observed.revisions} == {"stopped"}
    assert "mdeploy up local" in " ".join(observed.notes)
    assert observed.traffic == traffic, "what was routed is still known"
    stage.open().start()
    for revision in (one, two):
        stage.until_state(revision, "ready")
    back = stage.until(lambda found: found.up, "up")
    assert (back.traffic, back.notes) == (traffic, ())
    seen, _ = under_load(stage, lambda: None, watch=0.2)
    assert not seen.failures, seen.summary(0.0)


def test_sigterm_to_the_supervisor_leaves_users_served(stage: Scene) -> None:
    only = stage.spec("1.0.0")
    stage.run(only)
    stage.route(all_to(only))
    active, standby = stage.until_paired()
    kill(active, signal.SIGTERM)
    eventually(
        lambda: not any(map(files.is_locked, (stage.layout.active_lock, stage.layout.standby_lock))), "end"
    )
    seen, _ = under_load(stage, lambda: None, watch=0.2)
    assert not seen.failures, seen.summary(0.0)
    assert standby
    stage.target.start()
    stage.until_paired()


def test_a_shift_survives_a_supervisor_that_is_killed_in_the_midst_of_it(stage: Scene) -> None:
    one, two = stage.spec("1.0.0"), stage.spec("2.0.0")
    stage.run(one, two)
    stage.route(all_to(one))
    with users(stage.target.observe().endpoint or "") as seen:
        for number in range(10):
            active, _ = stage.until_paired()
            traffic = all_to((two, one)[number % 2], (one, two)[number % 2])
            stage.target.set_traffic(traffic)
            time.sleep(number * 0.001)
            kill(active)
            stage.until_routed(traffic)
    assert not seen.failures, seen.summary(0.0)


def test_a_command_that_is_killed_right_after_create_has_created(stage: Scene) -> None:
    only = stage.spec("1.0.0")
    script = (
        "import os, signal, sys; sys.path[:0] = sys.argv[2:];"
        "from pathlib import Path; from process_place import Scene;"
        "stage = Scene(Path(sys.argv[1]), port=int(os.environ['PORT']));"
        "stage.target.create(stage.spec('1.0.0')); os.kill(0, signal.SIGKILL)"
    )
    command = [sys.executable, "-c", script, str(stage.folder), str(Path(__file__).parents[1])]
    done = subprocess.run(
        command, env={**os.environ, "PORT": str(stage.port)}, start_new_session=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    stage.until_state(only, "ready")
    stage.until_paired()


def test_a_hung_worker_gets_no_new_requests_while_there_is_a_fallback(stage: Scene) -> None:
    new, old = stage.spec("2.0.0"), stage.spec("1.0.0")
    stage.run(new, old)
    stage.route(all_to(new, old))
    kill(stage.pid_of_worker(new), signal.SIGSTOP)
    try:
        time.sleep(4.0)
        seen, _ = under_load(stage, lambda: None, watch=0.5)
        assert not seen.failures, seen.summary(0.0)
        assert set(seen.by_revision) == {old.id}
        stage.until_state(new, "degraded")
    finally:
        kill(stage.pid_of_worker(new), signal.SIGCONT)
    stage.until_state(new, "ready")


def test_a_rollback_takes_far_less_than_a_second(stage: Scene) -> None:
    old, new = stage.spec("1.0.0"), stage.spec("2.0.0")
    stage.run(old, new)
    stage.route(all_to(new, old))
    began = time.monotonic()
    stage.route(all_to(old, new))
    assert time.monotonic() - began < 1.0


def test_a_removed_revision_answers_what_it_was_asked_before(stage: Scene) -> None:
    old, new = stage.spec("1.0.0"), stage.spec("2.0.0")
    stage.run(old, new)
    stage.route(all_to(old))
    endpoint = stage.target.observe().endpoint or ""
    with users(endpoint, keep_alive=2, new=1, path="/slow/1.0") as seen:
        time.sleep(0.5)
        stage.route(all_to(new))
        stage.target.delete(old.id, grace=10.0)
        stage.until(lambda found: found.find(old.id) is None, "removed")
    assert not seen.failures, seen.summary(0.0)
    assert set(seen.by_revision) == {old.id, new.id}


def test_destroy_leaves_no_process_and_no_file_but_the_journals(stage: Scene) -> None:
    one = stage.spec("1.0.0", replicas=2)
    stage.run(one)
    stage.route(all_to(one))
    stage.until_paired()
    stage.target.store.append("000001-a", b"{}")
    alive = stage.everything()
    assert len(alive) == 5  # two supervisors, Envoy, two workers
    stage.target.destroy()
    eventually(lambda: not stage.layout.desired.exists(), "destroyed", within=20)
    eventually(lambda: not any(map(lives, alive)), "nothing runs")
    left = {path.relative_to(stage.layout.root).as_posix() for path in stage.layout.root.rglob("*")}
    assert left == {"rollouts", "rollouts/000001-a.jsonl"}
    assert not stage.layout.sockets.exists()


def lives(pid: int) -> bool:
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(shown.stdout.strip()) and not shown.stdout.strip().startswith("Z")
