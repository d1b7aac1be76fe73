"""What hostile models, projects and folders try with a build, and what comes of it."""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle_place import Told, Workshop, recipe_for, write_model
from modeldeploy.bundle import frameworks, lock, npz
from modeldeploy.bundle.golden import verify
from modeldeploy.bundle.inspection import inspect
from modeldeploy.bundle.launch import command
from modeldeploy.bundle.manifest import MANIFEST, Golden, Manifest
from modeldeploy.errors import BundleError
from modeldeploy.model import HttpResponse
from modeldeploy.ops import rollouts

SECRET = "hunter2"


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.place,))


@pytest.mark.parametrize("own_service", [False, True])
def test_a_pickle_is_never_loaded(*, own_service: bool, workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p", own_service=own_service)
    recipe.model.write_bytes(pickle.dumps(Bomb(tmp_path / "pwned")))
    if own_service:
        workshop.build(recipe)
    else:
        with pytest.raises(BundleError, match=r"is a Python pickle .*expected a model"):
            workshop.build(recipe)
    assert not (tmp_path / "pwned").exists()


def test_golden_arrays_with_pickles_inside_are_never_loaded(tmp_path: Path) -> None:
    arrays = {"input/x": np.array([Bomb(tmp_path / "pwned")], dtype=object), "output/y": np.zeros(1)}
    np.savez(tmp_path / "golden.npz", **arrays)  # type: ignore[arg-type]  # names with slashes
    with pytest.raises(BundleError, match=r"golden.npz is no intact"):
        npz.samples_in(tmp_path / "golden.npz", None)
    manifest = Manifest(
        "d", "1", "custom", "s:S", (), "3.11", "sha256:0", (), golden=Golden("golden.npz", 1, 0, 0)
    )
    (tmp_path / MANIFEST).write_bytes(manifest.to_bytes())
    with pytest.raises(ValueError, match="allow_pickle=False"):
        verify(lambda _: HttpResponse(200, b"{}"), tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_a_golden_file_that_unpacks_to_gigabytes_is_not_unpacked_by_a_build(tmp_path: Path) -> None:
    header = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000,), }".ljust(118)
    )
    with zipfile.ZipFile(tmp_path / "golden.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("input/x.npy", "output/y.npy"):
            with archive.open(name, "w") as stream:
                stream.write(header)
                for _ in range(64):
                    stream.write(bytes(1 << 20))
    with pytest.raises(BundleError, match="1,000,000,000 samples"):
        npz.samples_in(tmp_path / "golden.npz", None)


@pytest.mark.parametrize(
    "header",
    [
        "__import__('os').system('touch pwned')",
        "{'descr': '<f4', 'shape': (" + "(" * 5000,
        "{'descr': '<f4', 'fortran_order': False, 'shape': 3}",
        "{'shape': (1,)}",
        "[]",
    ],
)
def test_array_headers_are_read_as_literals_only(
    header: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(tmp_path / "golden.npz", "w") as archive:
        archive.writestr("input/x.npy", content)
    with pytest.raises(BundleError, match=r"golden.npz"):
        npz.samples_in(tmp_path / "golden.npz", None)
    assert not (tmp_path / "pwned").exists()


def test_a_model_of_a_thousand_holes_takes_no_memory(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    with model.open("wb") as stream:
        stream.write(b"\x08\x08\x3a\xff\xff\xff\xff\x7f")  # a graph of 34 GB, it says
        stream.truncate(4 << 30)  # sparse
    with pytest.raises(BundleError, match="breaks off"):
        inspect(model)


@pytest.mark.parametrize(
    "variable", ["UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_FIND_LINKS"]
)
def test_the_password_of_an_index_is_in_no_message(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"http://me:{SECRET}@127.0.0.1:9/simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setattr(lock, "SERVING", ())
    monkeypatch.setattr(frameworks, "PACKAGES", {})
    with pytest.raises(BundleError) as caught:
        lock.resolve(recipe_for(tmp_path, requirements=("mdeploy-no-such-package-x",)))
    assert SECRET not in f"{caught.value.message}{caught.value.hint}{json.dumps(caught.value.details)}"


def test_no_index_no_user_and_no_path_of_this_machine_is_in_a_bundle(
    workshop: Workshop, tmp_path: Path
) -> None:
    recipe = workshop.project(tmp_path / "p", own_service=True)
    built = workshop.build(recipe)
    text = b"".join(path.read_bytes() for path in built.path.rglob("*") if path.is_file()).decode(
        errors="replace"
    )
    assert str(tmp_path) not in text
    assert str(Path.home()) not in text
    assert not re.search(r"index-url|/simple\b|find-links", text)


def test_variables_of_the_terminal_are_not_passed_to_workers(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    built = workshop.build(workshop.project(tmp_path / "p", own_service=True))
    _, env = command(built.path, socket=tmp_path / "s")
    assert SECRET not in env.values()
    assert env["PYTHONPATH"] == str(built.path / "src")


def test_secrets_for_local_use_do_not_get_into_a_bundle(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p", own_service=True)
    (recipe.root / ".env").write_text(f"TOKEN={SECRET}")
    told = Told()
    built = workshop.build(replace(recipe, include=("**",)), told)
    assert not any(
        SECRET in path.read_text(errors="replace") for path in built.path.rglob("*") if path.is_file()
    )
    assert ".env" in told.warnings()[0]


@pytest.mark.parametrize("link", ["file", "folder", "model"])
def test_a_project_cannot_pull_files_of_this_machine_into_its_bundle(
    link: str, workshop: Workshop, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "id_ed25519").write_text(SECRET)
    recipe = workshop.project(tmp_path / "p", own_service=True)
    if link == "model":
        recipe.model.unlink()
        recipe.model.mkdir()
        (recipe.model / "weights").symlink_to(tmp_path / "outside" / "id_ed25519")
    else:
        target = tmp_path / "outside" / ("id_ed25519" if link == "file" else "")
        (recipe.root / "notes").symlink_to(target)
    with pytest.raises(BundleError, match="leads out of the project"):
        workshop.build(replace(recipe, include=("**",)))


def test_a_bundle_that_was_changed_behind_our_back_is_not_used(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p", own_service=True)
    built = workshop.build(recipe)
    victim = built.path / "src" / "service.py"
    victim.chmod(0o600)
    text = victim.read_text()
    victim.write_text("import os  # hello" + text[18:])
    os.utime(victim)
    again = workshop.build(recipe)
    assert not again.unchanged
    assert victim.read_text() == text


def test_a_bundle_whose_bytes_changed_behind_its_time_stamp_does_not_go_live(
    workshop: Workshop, tmp_path: Path
) -> None:
    built = workshop.build(workshop.project(tmp_path / "p", own_service=True))
    victim = built.path / "src" / "service.py"
    before = victim.stat()
    content = bytearray(victim.read_bytes())
    content[20] ^= 1
    victim.chmod(0o600)
    victim.write_bytes(content)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BundleError, match=r"service.py was changed") as caught:
        rollouts.insist_on_every_byte(built)
    assert "mdeploy build" in (caught.value.hint or "")


def test_names_in_a_model_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx", batch="\x1b]0;owned\x07")
    with pytest.raises(BundleError, match="not printable") as caught:
        inspect(model)
    assert caught.value.message.isprintable()
