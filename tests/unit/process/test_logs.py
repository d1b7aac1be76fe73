"""Log files: bounded, and readable while they are written."""

from itertools import islice
from pathlib import Path

from modeldeploy.targets.process import logs


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.log"
    path.write_text("".join(f"line {number}\n" for number in range(50_000)))
    assert logs.tail(path, 2) == ["line 49998", "line 49999"]
    assert len(logs.tail(path, 20_000)) == 20_000
    assert logs.tail(path, 0) == []
    assert logs.tail(tmp_path / "none.log", 5) == []


def test_a_line_that_is_still_written_and_odd_bytes_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.log"
    path.write_bytes(b"one\n\xff two\nthr")
    assert logs.tail(path, 5) == ["one", "� two", "thr"]


def test_a_log_that_grew_too_large_is_moved_aside_and_the_tail_goes_on_there(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.log"
    with path.open("ab") as stream:
        stream.write(b"old 1\nold 2\n")
        stream.flush()
        logs.bound(path, largest=5)
        stream.write(b"new\n")  # the writer appends: it goes on at the new end
    assert path.read_text() == "new\n"
    assert logs.tail(path, 2) == ["old 2", "new"]
    logs.bound(path, largest=5)
    assert path.read_text() == "new\n"
    logs.bound(tmp_path / "none.log", largest=5)


def test_lines_of_several_logs_say_whose_they_are_if_asked_to(tmp_path: Path) -> None:
    paths = [tmp_path / "prepare.log", tmp_path / "worker-0.log", tmp_path / "worker-1.log"]
    assert logs.tail_all(paths, 4) == []
    paths[1].write_text("a\nb\nc\n")
    assert logs.tail_all(paths, 2) == ["b", "c"]
    paths[2].write_text("d\n")
    assert sorted(logs.tail_all(paths, 4, labelled=True)) == ["[worker-0] b", "[worker-0] c", "[worker-1] d"]


def test_following_goes_on_across_a_move_and_ends_with_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    path = folder / "worker-0.log"
    path.write_text("before\n")
    lines = logs.follow([path], logs.sizes([path]))
    with path.open("a") as stream:
        stream.write("one\ntw")
    assert next(lines) == "one"
    with path.open("a") as stream:
        stream.write("o\n")
    assert next(lines) == "two"
    path.write_text("x\n")
    assert next(lines) == "x"
    path.unlink()
    folder.rmdir()
    assert list(islice(lines, 1)) == []


def test_a_note_says_when_and_who(tmp_path: Path) -> None:
    logs.note(tmp_path / "log", "worker 0 exited with code 1")
    assert (tmp_path / "log").read_text().endswith("Z mdeploy: worker 0 exited with code 1\n")
    logs.note(tmp_path / "no folder" / "log", "nobody can read this, and nothing breaks")
