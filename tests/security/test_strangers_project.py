"""A project from a stranger: looking at it and building it runs nothing of it and waits for nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bundle_place import Told, Workshop
from modeldeploy.bundle import facts, lock, npz
from modeldeploy.bundle.lock import Lock
from modeldeploy.bundle.manifest import Golden, Manifest, canonical
from modeldeploy.bundle.recording import record_recipe
from modeldeploy.bundle.store import BundleStore
from modeldeploy.errors import BundleError
from needs import need

HASH = f"    --hash=sha256:{'0' * 64}"


def git(folder: Path, *words: str) -> None:
    done = subprocess.run(["git", "-C", folder, *words], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("scope", ["--local", "--worktree", "include"])
def test_programs_that_a_projects_git_settings_name_are_not_run(scope: str, tmp_path: Path) -> None:
    need(shutil.which("git") is not None, "git")
    project, sprung = tmp_path / "p", tmp_path / "sprung"
    project.mkdir()
    (project / "model.onnx").write_text("weights")
    git(project, "init", "--quiet")
    git(project, "add", "model.onnx")
    git(project, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "all")
    spring = f"touch '{sprung}'; cat"
    if scope == "include":
        (tmp_path / "more").write_text(f'[filter "x"]\n  clean = "{spring}"\n  required = true\n')
        git(project, "config", "include.path", str(tmp_path / "more"))
    else:
        git(project, "config", "extensions.worktreeConfig", "true")
        git(project, "config", scope, "filter.x.clean", spring)
        git(project, "config", scope, "filter.x.process", f"touch '{sprung}'")
    git(project, "config", "core.fsmonitor", f"touch '{sprung}' #")
    (project / ".git/info/attributes").write_text("* filter=x\n")
    os.utime(project / "model.onnx", (2e9, 2e9))
    found = facts.gather(project, Lock(""))["git"]
    assert isinstance(found, dict)
    assert (len(found["commit"]), found["dirty"]) == (40, False)
    (project / "model.onnx").write_text("other weights")
    assert facts.gather(project, Lock(""))["git"] == {"commit": found["commit"], "dirty": True}
    assert not sprung.exists()


@pytest.mark.parametrize(
    "line",
    [
        f"six==1.17.0 --index-url http://127.0.0.1:9/simple \\\n{HASH}",
        f"six==1.17.0 \\\n{HASH} --find-links http://127.0.0.1:9/",
        f"six @ https://127.0.0.1:9/six.whl --no-verify \\\n{HASH}",
        "--extra-index-url http://127.0.0.1:9/simple",
        "-e .",
        "six @ file:///tmp/six.whl",
        "-r other.txt",
    ],
)
def test_an_edited_lock_cannot_name_another_place_to_fetch_from(
    line: str, workshop: Workshop, tmp_path: Path
) -> None:
    recipe = workshop.project(tmp_path / "p")
    path = recipe.root / lock.FILENAME
    assert lock.present(recipe) is not None
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(BundleError, match="neither a pinned package nor a hash"):
        lock.present(recipe)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 34)  # sparse


@pytest.mark.parametrize("kind", [pipe, device, huge])
def test_a_lock_that_would_never_end_is_not_read(
    kind: Callable[[Path], None], workshop: Workshop, tmp_path: Path
) -> None:
    recipe = workshop.project(tmp_path / "p")
    path = recipe.root / lock.FILENAME
    path.unlink()
    kind(path)
    with pytest.raises(BundleError, match=r"cannot read .*modeldeploy.lock: it "):
        lock.present(recipe)


@pytest.mark.parametrize(("rows", "width"), [(200_000, 4), (60_000, 1000)])
def test_golden_samples_that_would_keep_a_rollout_busy_for_hours_are_refused(
    rows: int, width: int, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "golden.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("input/x.npy", "output/y.npy"):
            head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}".ljust(118)
            archive.writestr(name, b"\x93NUMPY\x01\x00v\x00" + head.encode())
    with pytest.raises(BundleError, match="each rollout sends them all"):
        npz.samples_in(tmp_path / "golden.npz", None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.json", b"null"),
        ("s.json", b'"text"'),
        ("s.json", b'{"pixels": "abc"}'),
        ("s.json", b'{"pixels": [["a", 1, 2, 3]]}'),
        ("s.json", b'{"pixels": [[1], [1, 2]]}'),
        ("s.json", b'{"pixels": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
        ("s.json", b'{"pixels": [[' + b"9" * 400 + b"]]}"),
        ("s.npz", b"PK\x03\x04garbage"),
        ("s.npz", b""),
    ],
)
def test_samples_that_are_none_are_refused_with_a_sentence(
    name: str, content: bytes, workshop: Workshop, tmp_path: Path
) -> None:
    recipe = workshop.project(tmp_path / "p")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleError) as caught:
        record_recipe(recipe, samples=tmp_path / name, emit=Told())
    assert caught.value.hint


@pytest.mark.parametrize("path", ["../../../x", "/etc/passwd", "src/../../x", "", ".", "a//b", "a\0b"])
@pytest.mark.parametrize("place", ["files", "golden", "model"])
def test_a_manifest_cannot_name_files_outside_its_bundle(path: str, place: str) -> None:
    entry = {"path": path, "sha256": "0" * 64, "size": 1, "executable": False}
    golden = {"path": path, "samples": 1, "rtol": 0, "atol": 0}
    honest = json.loads(
        Manifest(
            "d", "1", "custom", "s:S", (), "3.11", "sha256:0", (), golden=Golden("golden.npz", 1, 0, 0)
        ).to_bytes()
    )
    assert Manifest.from_bytes(canonical(honest)).golden
    hostile = honest | {place: {"files": [entry], "golden": golden, "model": [path]}[place]}
    with pytest.raises(BundleError, match="leads out of the bundle"):
        Manifest.from_bytes(canonical(hostile))


def test_the_python_of_a_manifest_is_a_version_and_no_program() -> None:
    value = json.loads(Manifest("d", "1", "custom", "s:S", (), "3.11", "sha256:0", ()).to_bytes())
    with pytest.raises(BundleError, match="no version of Python"):
        Manifest.from_bytes(canonical(value | {"python": "../../../../bin/sh"}))


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("digits", "../../etc"),
        ("..", "passwd"),
        ("digits", ""),
        ("", "1"),
        ("digits", "."),
        ("digits", "a\0"),
    ],
)
def test_a_reference_that_is_a_path_finds_nothing(name: str, version: str) -> None:
    with pytest.raises(BundleError, match="built on this machine"):
        BundleStore().find(name, version)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"../../../etc", b"sha256:zz", None, "pipe"])
def test_a_reference_in_the_store_that_makes_no_sense_is_as_none(content: bytes | str | None) -> None:
    store = BundleStore()
    ref = store.folder / "refs" / "digits" / "1.0.0"
    ref.parent.mkdir(parents=True)
    if content is None:
        ref.mkdir()
    elif isinstance(content, str):
        os.mkfifo(ref)
    else:
        ref.write_bytes(content)
    assert store.all() == []
    with pytest.raises(BundleError, match="no bundle of digits"):
        store.find("digits", "1.0.0")
