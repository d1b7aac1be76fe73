import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from modeldeploy.config.edit import Part, next_version, set_name, set_version
from modeldeploy.config.load import load
from modeldeploy.errors import ConfigError

Write = Callable[[str], Path]

TEXT = """\
# My digits
[project]   # here
name = "digits"
version  =  "1.0.0"  # raise me

[model]
path='model.onnx'   # oddly written
"""


def test_replaces_the_version_and_nothing_else(write: Write) -> None:
    path = write(TEXT) / "modeldeploy.toml"
    set_version(path, "1.1.0")
    assert path.read_text() == TEXT.replace("1.0.0", "1.1.0")
    assert load(path.parent).file.project.version == "1.1.0"


@pytest.mark.parametrize(
    "text",
    [
        'project = { name = "a", version = "1" } # x\n',
        'project.name = "a"\nproject.version = "1"\n[model]\n',
        '[model]\nversion = "1"\n[project]\nversion = "1"\nname = "a"',
        "[project]\nversion = 1.0\n",
        '[project]\r\nversion = "1" # windows\r\n',
    ],
)
def test_finds_the_version_however_it_is_written(folder: Path, text: str) -> None:
    path = folder / "modeldeploy.toml"
    path.write_bytes(text.encode())
    set_version(folder, "2.0")
    old, new = text.splitlines(keepends=True), path.read_bytes().decode().splitlines(keepends=True)
    assert sum(before != after for before, after in zip(old, new, strict=True)) == 1


def test_keeps_the_mode_of_the_file_and_follows_a_link(folder: Path, good: Path) -> None:
    link, real = folder / "modeldeploy.toml", folder / "real.toml"
    link.rename(real)
    link.symlink_to(real)
    real.chmod(0o664)
    set_version(good, "1.0.1")
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o664
    assert load(good).file.project.version == "1.0.1"


@pytest.mark.parametrize("version", ["", "1 2", "-1", "a" * 65, "1.0\n"])
def test_refuses_what_is_no_version(good: Path, version: str) -> None:
    before = (good / "modeldeploy.toml").read_bytes()
    with pytest.raises(ConfigError, match="is not a version; expected at most 64"):
        set_version(good, version)
    assert (good / "modeldeploy.toml").read_bytes() == before


def test_replaces_the_name_likewise(write: Write) -> None:
    folder = write(TEXT)
    set_name(folder, "letters")
    assert (folder / "modeldeploy.toml").read_text() == TEXT.replace('"digits"', '"letters"')
    with pytest.raises(ConfigError, match="'My Letters' is not a name"):
        set_name(folder, "My Letters")


@pytest.mark.parametrize("text", ["", "[project]\nname = 'a'", "project = 1", "[[project]]\nversion = '1'"])
def test_refuses_a_file_without_a_version(write: Write, text: str) -> None:
    with pytest.raises(ConfigError, match=r"modeldeploy.toml: project.version: missing"):
        set_version(write(text), "2")


@pytest.mark.parametrize(
    ("version", "part", "following"),
    [
        ("1.2.3", "patch", "1.2.4"),
        ("1.2.3", "minor", "1.3.0"),
        ("1.2.3", "major", "2.0.0"),
        ("1.2", "patch", "1.2.1"),
        ("1", "minor", "1.1.0"),
        ("v1.9.9", "patch", "v1.9.10"),
        ("2024.5.1", "minor", "2024.6.0"),
        ("1.0.0-rc1", "patch", "1.0.0"),
        ("1.0.0rc1", "minor", "1.0.0"),
        ("2.0.0-alpha.3", "major", "2.0.0"),
        ("1.2.3-rc.1", "minor", "1.3.0"),
        ("1.2.0.dev4", "patch", "1.2.0"),
        ("1.2.0.dev4+dirty", "patch", "1.2.0"),
        ("1.2.3+build.7", "patch", "1.2.4"),
        ("1.2.3.post1", "patch", "1.2.4"),
    ],
)
def test_counts_as_semantic_versioning_does(version: str, part: Part, following: str) -> None:
    assert next_version(version, part) == following


@pytest.mark.parametrize("version", ["latest", "2024-05", "1.2.3.4", "1.2.3-blue", "a1", "", "1" * 30])
def test_does_not_guess(version: str) -> None:
    with pytest.raises(ConfigError, match="cannot tell which version follows"):
        next_version(version)


def test_a_part_that_is_none_is_refused_rather_than_taken_for_another() -> None:
    with pytest.raises(ConfigError, match="expected major, minor, patch"):
        next_version("1.2.3", "micro")  # type: ignore[arg-type]  # what a Python user may write
