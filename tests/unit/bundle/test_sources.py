"""What goes into a bundle is what the patterns say, less what is there by accident."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modeldeploy.bundle import sources
from modeldeploy.bundle.sources import collect
from modeldeploy.errors import BundleError


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def chosen(root: Path, *include: str, exclude: tuple[str, ...] = ()) -> list[str]:
    return list(collect(root, include, exclude).files)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.py", ["service.py"]),
        ("**/*.py", ["lib/deep/b.py", "lib/a.py", "service.py"]),
        ("lib", ["lib/deep/b.py", "lib/a.py", "lib/labels.txt"]),
        ("lib/", ["lib/deep/b.py", "lib/a.py", "lib/labels.txt"]),
        ("lib/*.txt", ["lib/labels.txt"]),
        ("lib/**", ["lib/deep/b.py", "lib/a.py", "lib/labels.txt"]),
        ("lib/**/*.py", ["lib/deep/b.py", "lib/a.py"]),
        ("serv?ce.[a-p]y", ["service.py"]),
        ("[!s]*.py", []),
        ("./service.py", ["service.py"]),
        ("a+b (1).txt", ["a+b (1).txt"]),
        ("nothing", []),
    ],
)
def test_patterns_mean_what_a_shell_makes_of_them(pattern: str, expected: list[str], tmp_path: Path) -> None:
    make(tmp_path, "service.py", "lib/a.py", "lib/labels.txt", "lib/deep/b.py", "a+b (1).txt")
    assert sorted(chosen(tmp_path, pattern)) == sorted(expected)


def test_exclude_wins_over_include(tmp_path: Path) -> None:
    make(tmp_path, "service.py", "train.py", "tests/test_a.py")
    assert chosen(tmp_path, "**", exclude=("train.py", "tests")) == ["service.py"]


def test_what_lies_about_is_left_out_and_told(tmp_path: Path) -> None:
    make(
        tmp_path,
        *(".git/config", ".venv/lib/x.py", "node_modules/a.js", "__pycache__/a.pyc", "own-env/pyvenv.cfg"),
        *("own-env/lib/y.py", ".env", ".env.local", "modeldeploy.toml", "modeldeploy.lock", "service.py"),
    )
    found = collect(tmp_path, ["**"], ())
    assert list(found.files) == ["service.py"]
    assert {".git/", ".venv/", "node_modules/", "own-env/", ".env", ".env.local"} <= set(found.skipped)


def test_folders_that_no_pattern_can_reach_are_not_walked(tmp_path: Path) -> None:
    make(tmp_path, "service.py", "data/1/x.txt", "data/y.txt")
    (tmp_path / "data" / "1").chmod(0)
    try:
        assert chosen(tmp_path, "*.py", "data/*.txt") == ["data/y.txt", "service.py"]
    finally:
        (tmp_path / "data" / "1").chmod(0o700)


def test_a_link_out_of_the_project_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "outside/secret.txt", "project/service.py")
    project = tmp_path / "project"
    (project / "data.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    with pytest.raises(BundleError, match=r"data.txt is a link that leads out of the project"):
        chosen(project, "**")
    assert chosen(project, "*.py") == ["service.py"]
    assert chosen(project, "**", exclude=("data.txt",)) == ["service.py"]


def test_a_linked_folder_out_of_the_project_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "outside/secret.txt", "project/service.py")
    (tmp_path / "project" / "lib").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match="lib is a link that leads out"):
        chosen(tmp_path / "project", "lib/**")


def test_links_within_the_project_are_followed_once(tmp_path: Path) -> None:
    make(tmp_path, "lib/a.py")
    (tmp_path / "b.py").symlink_to("lib/a.py")
    (tmp_path / "lib" / "round").symlink_to("..")
    assert "b.py" in chosen(tmp_path, "**/*.py")


def test_a_link_to_nothing_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.py").symlink_to("gone.py")
    with pytest.raises(BundleError, match=r"a.py is a link to nothing"):
        chosen(tmp_path, "*.py")


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.py")).touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    with pytest.raises(BundleError, match="is not UTF-8"):
        chosen(tmp_path, "**")


def test_pipes_are_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = collect(tmp_path, ["**"], ())
    assert (dict(found.files), found.skipped) == ({}, ["pipe"])


def test_an_include_of_everything_by_accident_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MOST_FILES", 5)
    make(tmp_path, *(f"data/{number}.jpg" for number in range(7)))
    with pytest.raises(BundleError, match=r"more than 5 files, most of them in data/") as caught:
        chosen(tmp_path, "**")
    assert 'exclude = ["data"]' in (caught.value.hint or "")
