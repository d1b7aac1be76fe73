"""What is on disk between the driver and the supervisor, and what is not trusted of it."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldeploy.errors import TargetRefused
from modeldeploy.model import RevisionId, RevisionState, Traffic
from modeldeploy.targets.process import records
from modeldeploy.targets.process.layout import LONGEST_SOCKET_PATH, Layout
from modeldeploy.targets.process.records import Desired, Listen, Report, RevisionReport, Stored
from process_place import spec

ONE, TWO = RevisionId("1.0.0-0123abcd"), RevisionId("2.0.0-0123abcd")


@pytest.fixture
def layout() -> Iterator[Layout]:
    layout = Layout.of("digits", "local")
    layout.make()
    yield layout
    layout.sockets.rmdir()  # may be outside of the test's own folder


def test_wishes_are_read_as_they_were_written(layout: Layout) -> None:
    traffic = Traffic({ONE: 90, TWO: 10}, ONE, (ONE,))
    desired = Desired(Listen("::1", 8080, "/opt/envoy"), 7, traffic, {TWO: 2.5}, {ONE: 3}, destroy=True)
    records.write_desired(layout, desired)
    assert records.read_desired(layout) == desired
    assert desired.listen.endpoint == "http://[::1]:8080"


def test_the_report_is_read_as_it_was_written(layout: Layout) -> None:
    one = RevisionReport(RevisionState.DEGRADED, (0, 2), 5, "worker 1 exited with code 1", True, 2)
    report = Report({ONE: one}, (4, Traffic({ONE: 100})), ("something is wrong",), "0.1.0")
    records.write_report(layout, report)
    assert records.read_report(layout) == report


def test_a_spec_keeps_its_variables_and_only_the_owner_can_read_it(layout: Layout, tmp_path: Path) -> None:
    stored = Stored(spec(tmp_path, "1.0.0", env={"API_KEY": "hunter2"}), 12.5)
    path = layout.revision(ONE).spec
    path.parent.mkdir()
    records.write_spec(path, stored)
    read = records.read_spec(path)
    assert read is not None
    assert (read.created, read.spec) == (12.5, stored.spec)
    assert read.spec.env["API_KEY"] == "hunter2"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "hunter2" not in repr(read)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '"x"', '{"listen": 3}', '{"revisions": []}'])
def test_nonsense_is_found_out(layout: Layout, text: str) -> None:
    for path in (layout.desired, layout.report, layout.root / "spec.json"):
        path.write_text(text)
    assert records.read_report(layout) == Report()
    if text == "null":
        return
    with pytest.raises(ValueError, match=r"."):
        records.read_desired(layout)
    with pytest.raises(ValueError, match=r"."):
        records.read_spec(layout.root / "spec.json")


def test_weights_that_do_not_add_up_are_found_out(layout: Layout) -> None:
    records.write_desired(layout, Desired(Listen("127.0.0.1", 1), traffic=Traffic({ONE: 100})))
    broken = json.loads(layout.desired.read_text())
    broken["traffic"]["weights"][ONE] = 50
    layout.desired.write_text(json.dumps(broken))
    with pytest.raises(ValueError, match="add up"):
        records.read_desired(layout)


def test_a_generation_counts_changes_of_traffic_only() -> None:
    desired = Desired(Listen("127.0.0.1", 1))
    once = desired.with_traffic(Traffic({ONE: 100}, ONE))
    assert once.generation == 1
    assert once.with_traffic(Traffic({ONE: 100}, ONE)) is once
    assert once.with_traffic(Traffic({ONE: 100}, ONE, (TWO,))).generation == 2
    assert once.try_again(ONE).try_again(ONE).attempts == {ONE: 2}
    assert once.try_again(ONE).without(ONE).attempts == {}


def test_sockets_are_near_where_the_path_is_short(layout: Layout, home: Path) -> None:
    assert layout.sockets.parent == home.resolve() / "run" or layout.sockets.parent.name.startswith(
        "mdeploy-"
    )
    assert len(bytes(layout.revision(ONE).worker_socket(99))) <= LONGEST_SOCKET_PATH


def test_sockets_of_a_long_home_are_elsewhere_and_only_for_their_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDEPLOY_HOME", str(tmp_path / ("ä" * 60) / "a home"))
    layout = Layout.of("digits", "local")
    layout.make()
    assert str(layout.sockets).startswith("/tmp/mdeploy-")
    assert len(bytes(layout.admin)) <= LONGEST_SOCKET_PATH
    layout.sockets.chmod(0o755)
    with pytest.raises(TargetRefused, match="only this user"):
        layout.make()
    layout.sockets.rmdir()


def test_one_folder_has_one_name_for_its_sockets_whatever_the_way_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Layout.of("digits", "local")
    (tmp_path / "link").symlink_to(real.home)
    monkeypatch.setenv("MDEPLOY_HOME", str(tmp_path / "link"))
    assert Layout.of("digits", "local") == real
