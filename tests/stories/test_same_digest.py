"""The same inputs make the same bundle, wherever, whenever and by whomever it is built."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from modeldeploy.bundle.manifest import Manifest
from needs import need
from story_project import MDEPLOY, PYTHON, ROOT, Story, share

pytestmark = pytest.mark.story

NOBODY = 65534
SOURCE = str(ROOT / "src")
RUNS_SOURCE = {"PYTHONPATH": SOURCE, "PYTHONDONTWRITEBYTECODE": "1"}
MODULE = ("-m", "modeldeploy.cli")
TELLING = """
[metadata]
accuracy = { validation = 0.981, "täst" = 0.97 }
lineage = ["run-7", "数据-2026-03"]
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can enter."""
    with tempfile.TemporaryDirectory(prefix="mdeploy same digest ä 数 ") as folder:
        path = Path(folder).resolve()
        path.chmod(0o755)
        yield path


@pytest.fixture
def project(user: Story) -> Story:
    """A project with a service, files, golden samples, a licence and facts of its own, under git."""
    user.init()
    user.own_service("none")
    text = user.file.read_text().replace("[model]\n", '[model]\nlicense = "Apache-2.0"\n')
    user.file.write_text(text + TELLING)
    user.edit("include", '["service.py", "labels/**"]')
    (user.folder / "labels" / "größe").mkdir(parents=True)
    (user.folder / "labels" / "größe" / "zwölf 数.txt").write_text("eins\nzwei\n")
    (user.folder / "labels" / "run.sh").write_text("#!/bin/sh\n")
    (user.folder / "labels" / "run.sh").chmod(0o755)
    user.build()
    git(user.folder, "init", "-q")
    git(user.folder, "add", ".")
    git(user.folder, "commit", "-qm", "all of it")
    return user


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@t", *words], check=True)


def build(
    folder: Path,
    home: Path,
    *,
    mdeploy: Sequence[str | Path] = (MDEPLOY,),
    env: Mapping[str, str] | None = None,
    umask: int = 0o022,
) -> dict[str, Any]:
    """Build in a folder, with a home of its own; the result."""
    environment = {**os.environ, "MDEPLOY_HOME": str(home), **(env or {})}
    done = subprocess.run(
        [*mdeploy, "build", "--json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        umask=umask,
        timeout=400,
    )
    last = json.loads((done.stdout.splitlines() or [b"null"])[-1])
    assert last and last["type"] == "result", done.stdout.decode() + done.stderr.decode()
    return dict(last["result"])


def insist_on_the_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Two builds made one bundle, and neither was the other's."""
    old, new = Manifest.read(Path(first["path"])), Manifest.read(Path(second["path"]))
    assert {entry.path: entry for entry in old.files} == {entry.path: entry for entry in new.files}
    assert old == new
    assert first["digest"] == second["digest"]
    assert first["path"] != second["path"]
    assert not second["unchanged"]


def test_another_user_folder_umask_zone_locale_and_hash_seed_and_nothing_in_any_cache(
    project: Story, public: Path
) -> None:
    need(os.geteuid() == 0 and shutil.which("setpriv"), "root and setpriv, to become another user")
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    program = shutil.which("python3", path="/usr/bin")
    need(program, "a Python that every user can run")
    python = str(venv(str(program), public / "venv"))
    asked = [*become, python, "-c", "import modeldeploy.cli.__main__"]
    runs = subprocess.run(asked, env={"PYTHONPATH": SOURCE}, capture_output=True, check=False)
    need(not runs.returncode, "source code that every user can read")
    first = project.build()
    theirs = public / "ein Projekt"
    shutil.copytree(project.folder, theirs, ignore=shutil.ignore_patterns(".git"))
    for path in (public, theirs, *theirs.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
        os.utime(path, (86_400, 86_400))
    env = {
        **RUNS_SOURCE,
        "HOME": str(public),
        "USER": "nobody",
        "LOGNAME": "nobody",
        "TMPDIR": str(public),
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C",
        "LANG": "C",
        "PYTHONHASHSEED": "77",
        "XDG_CACHE_HOME": str(public / "cache"),
    }
    mdeploy = (*become, python, *MODULE)
    second = build(theirs, public / "home", mdeploy=mdeploy, env=env, umask=0o077)
    insist_on_the_same(first, second)
    assert Path(second["path"]).stat().st_uid == NOBODY


def test_a_clone_a_link_another_time_and_no_version_control_at_all(
    project: Story, tmp_path: Path, shared: Path
) -> None:
    first = project.build()
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", project.folder, clone], check=True)
    for path in clone.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (clone / "notes.txt").write_text("dirty, and not in the bundle")
    linked = tmp_path / "Verknüpfung zum Projekt"
    linked.symlink_to(clone)
    insist_on_the_same(first, build(linked, home_in(tmp_path / "a", shared), umask=0o002))
    shutil.rmtree(clone / ".git")
    insist_on_the_same(first, build(clone, home_in(tmp_path / "b", shared), env={"PYTHONHASHSEED": "0"}))


def home_in(path: Path, shared: Path) -> Path:
    """A home that knows the environments, and has no other cache."""
    share(path, shared)
    (path / "cache").unlink()
    return path


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_mdeploy_itself_may_run_on_another_python(
    version: str, project: Story, tmp_path: Path, shared: Path
) -> None:
    program = another_python(version)
    if program is None or version == PYTHON:
        pytest.skip(f"this machine has no Python {version} beside the one that runs the tests")
    python = venv(str(program), tmp_path / "venv")
    first = project.build()
    copy = tmp_path / "copy"
    shutil.copytree(project.folder, copy)
    second = build(copy, home_in(tmp_path / "c", shared), mdeploy=(python, *MODULE), env=RUNS_SOURCE)
    insist_on_the_same(first, second)
    told = json.loads((Path(second["path"]) / "mdeploy-build.json").read_text())
    assert told["tools"]["python"].startswith(version)


def venv(program: str, place: Path) -> Path:
    """An environment in which that Python can run mdeploy from its source."""
    uv = str(Path(sys.executable).with_name("uv"))
    env = {**os.environ, "UV_LINK_MODE": "copy"}
    python = place / "bin" / "python"
    for words in (
        ["venv", "-q", "--no-project", "--python", program, str(place)],
        ["pip", "install", "-q", "--python", str(python), "-r", str(ROOT / "pyproject.toml")],
    ):
        subprocess.run([uv, *words], env=env, check=True)
    return python


def another_python(version: str) -> Path | None:
    """A Python of that version beside the one that runs the tests, as version managers lay them out."""
    found = sorted(Path(sys.base_prefix).parent.glob(f"*{version}.*/bin/python{version}"))
    return found[-1] if found else None
