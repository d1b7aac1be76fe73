"""Environments: made once per lock, repaired after a kill, never made twice at once. Uses the real uv."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundle_place import PYTHON, Told, recipe_for
from modeldeploy import files
from modeldeploy.bundle import lock
from modeldeploy.bundle.environment import Environment
from modeldeploy.bundle.manifest import LOCK, MANIFEST, Manifest
from modeldeploy.errors import BundleError


@pytest.fixture(scope="session")
def small_lock(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lock of one small package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDEPLOY_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(lock, "SERVING", ())
        patch.setattr(lock, "_frameworks", lambda _: ())
        return lock.resolve(recipe_for(tmp_path_factory.mktemp("p"), requirements=("six==1.16.0",))).text


def six_version(environment: Environment) -> str:
    command = [str(environment.python), "-c", "import six; print(six.__version__)"]
    return subprocess.check_output(command, text=True).strip()


def test_an_environment_is_made_from_the_lock_and_told_in_two_events(small_lock: str) -> None:
    environment, told = Environment.for_lock(small_lock, PYTHON), Told()
    assert not environment.ready
    environment.create(told)
    assert environment.ready
    assert six_version(environment) == "1.16.0"
    assert list(environment.path.rglob("six.*.pyc"))
    assert [event.data["state"] for event in told.events] == ["started", "done"]
    assert told.events[1].data["packages"] == 1
    environment.create(told)
    assert len(told.events) == 2


def test_its_place_follows_from_lock_and_python(small_lock: str) -> None:
    here = Environment.for_lock(small_lock, PYTHON).path
    assert Environment.for_lock(small_lock, PYTHON).path == here
    assert Environment.for_lock(small_lock + "\n", PYTHON).path != here
    assert Environment.for_lock(small_lock, "3.99").path != here


def test_one_that_was_killed_midway_is_made_anew(small_lock: str) -> None:
    environment = Environment.for_lock(small_lock, PYTHON)
    (environment.path / "bin").mkdir(parents=True)
    (environment.path / "bin" / "python").write_text("torn")
    assert not environment.ready
    environment.create(Told())
    assert six_version(environment) == "1.16.0"


def test_one_whose_python_was_removed_is_made_anew(small_lock: str) -> None:
    environment = Environment.for_lock(small_lock, PYTHON)
    environment.create(Told())
    for link in (environment.path / "bin").glob("python*"):
        link.unlink()
    assert not environment.ready
    environment.create(Told())
    assert six_version(environment) == "1.16.0"


def bundle(folder: Path, text: str) -> Path:
    """As much of a bundle as an environment needs."""
    manifest = Manifest("digits", "1.0.0", "custom", "s:S", (), PYTHON, "sha256:0", ())
    (folder / LOCK).parent.mkdir(parents=True)
    (folder / LOCK).write_text(text)
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return folder


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "modeldeploy.bundle.environment", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_two_at_once_one_makes_it_and_the_other_waits(small_lock: str, tmp_path: Path) -> None:
    files.home()
    folder = bundle(tmp_path / "b", small_lock)
    outputs = [process.communicate(timeout=60)[0] for process in [start(folder), start(folder)]]
    lines = [json.loads(line) for output in outputs for line in output.splitlines()]
    assert [line["data"]["state"] for line in lines] == ["started", "done"]
    assert Environment.of(folder).ready


def test_a_maker_that_is_killed_frees_the_way(small_lock: str, tmp_path: Path) -> None:
    files.home()
    folder = bundle(tmp_path / "b", small_lock)
    process = start(folder)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    began = time.monotonic()
    Environment.of(folder).create(Told())
    assert time.monotonic() - began < 30
    assert Environment.of(folder).ready


def test_a_python_that_is_not_there_is_told_with_the_way_to_get_it(small_lock: str) -> None:
    environment = Environment.for_lock(small_lock, "3.99")
    with pytest.raises(BundleError, match=r"Python 3.99 is not on this machine") as caught:
        environment.create(Told())
    assert "python install 3.99" in (caught.value.hint or "")
    assert not environment.path.exists()


def test_a_package_that_is_not_what_was_locked_is_refused(small_lock: str) -> None:
    first, *rest = small_lock.splitlines()
    wrong = (
        "\n".join(
            [
                first,
                *(
                    line[:-64] + "0" * 62 + " \\" if line.endswith("\\") else line[:-64] + "0" * 64
                    for line in rest
                ),
            ]
        )
        + "\n"
    )
    with pytest.raises(BundleError, match="installing the bundle's packages failed"):
        Environment.for_lock(wrong, PYTHON).create(Told())


def test_a_bundle_without_its_lock_is_told(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", "")
    (folder / LOCK).unlink()
    with pytest.raises(BundleError, match="has lost its lock"):
        Environment.of(folder)
