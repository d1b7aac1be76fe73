"""Builds with the real uv, ONNX Runtime and BentoML: same inputs, same digest; and nothing done twice."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle_place import OWN_SERVICE, PYTHON, Told, Workshop, write_model
from modeldeploy import files
from modeldeploy.bundle import bento, facts, stage
from modeldeploy.bundle.build import Built, build, gather
from modeldeploy.bundle.environment import Environment
from modeldeploy.bundle.manifest import BUILD_FACTS, Manifest
from modeldeploy.bundle.recipe import ModelRecipe, Recipe
from modeldeploy.bundle.store import BundleStore
from modeldeploy.config.load import load
from modeldeploy.errors import BundleError, ModelDeployError
from mounts import small_disk


def test_a_bundle_is_a_bento_with_a_manifest(workshop: Workshop, tmp_path: Path) -> None:
    built = workshop.build(workshop.project(tmp_path / "p"))
    manifest = Manifest.read(built.path)
    assert str(built.ref) == "digits:1.0.0"
    assert built.ref.digest == manifest.digest()
    assert (manifest.framework, manifest.entrypoint) == ("onnx", "mdeploy_service:service")
    assert manifest.model == ("src/model.onnx",)
    assert manifest.signature is not None
    names = {entry.path for entry in manifest.files}
    assert {"bento.yaml", "src/model.onnx", "src/mdeploy_serving/worker.py", "apis/openapi.yaml"} <= names
    there = {path.relative_to(built.path).as_posix() for path in built.path.rglob("*") if path.is_file()}
    assert there == names | {"mdeploy.json", BUILD_FACTS}
    code = "import bentoml, sys; b = bentoml.Bento.from_path(sys.argv[1]); print(b.tag, b.creation_time.year)"
    python = Environment.of(built.path).python
    env = {**os.environ, "BENTOML_HOME": str(tmp_path / "bentoml")}
    shown = subprocess.run(
        [python, "-c", code, built.path], env=env, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == ["digits:1.0.0", "1980"]


def test_a_build_without_changes_makes_nothing(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p")
    first, told = workshop.build(recipe), Told()
    again = workshop.build(recipe, told)
    assert again == replace_unchanged(first)
    assert not told.events
    workshop.forget()
    assert workshop.build(recipe).unchanged


def replace_unchanged(built: Built) -> Built:
    return replace(built, unchanged=True)


def test_new_weights_and_a_new_version_do_not_start_bentoml(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p")
    workshop.build(recipe)
    write_model(recipe.model, seed=1)
    told = Told()
    built = workshop.build(replace(recipe, version="1.10"), told)
    assert told.done() == ["store"]
    text = (built.path / "bento.yaml").read_text()
    assert 'version: "1.10"' in text
    assert (built.path / "README.md").read_text().startswith("# digits:1.10\n")
    assert bento._VERSION not in "".join(
        path.read_text(errors="replace") for path in built.path.rglob("*") if path.is_file()
    )


def test_a_remembered_skeleton_gives_the_same_digest_as_a_fresh_one(
    workshop: Workshop, tmp_path: Path
) -> None:
    recipe = workshop.project(tmp_path / "p")
    workshop.build(recipe)
    second = replace(recipe, version="1.1.0")
    remembered = workshop.build(second).ref.digest
    workshop.forget()
    shutil.rmtree(workshop.home / "bundles" / "refs")
    told = Told()
    assert workshop.build(second, told).ref.digest == remembered
    assert told.done() == ["bento", "store"]


def test_the_digest_does_not_depend_on_folder_user_time_locale_hashes_or_processors(
    workshop: Workshop, tmp_path: Path
) -> None:
    here = workshop.build(workshop.project(tmp_path / "p")).ref.digest
    there = tmp_path / "Projekt für 数字 x" / "p"
    recipe = workshop.project(there)
    for path in there.iterdir():
        path.chmod(0o600)
        os.utime(path, (0, 0))
    env = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "LANG": "C", "PYTHONHASHSEED": "7"}
    assert build_elsewhere(recipe, tmp_path / "home2", workshop, env) == here


def build_elsewhere(recipe: Recipe, home: Path, workshop: Workshop, env: dict[str, str]) -> str:
    """Build in a process with another home, umask and environment; the digest."""
    home.mkdir()
    (home / "format").write_text(files.HOME_FORMAT)
    (home / "envs").symlink_to(workshop.shared / "envs")
    one = "os.sched_setaffinity(0, {0});" if hasattr(os, "sched_setaffinity") else ""
    code = (
        f"import os; os.umask(0o077); {one}"
        "from pathlib import Path, PosixPath; from modeldeploy.bundle.recipe import *;"
        "from modeldeploy.bundle.build import build_recipe;"
        f"print(build_recipe({recipe!r}, emit=lambda event: None).ref.digest)"
    )
    full = {**os.environ, **env, "MDEPLOY_HOME": str(home), "PYTHONUTF8": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=full, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_where_it_was_built_is_told_but_is_not_content(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p")
    commit(recipe.root)
    built = workshop.build(recipe)
    told = json.loads((built.path / BUILD_FACTS).read_text())
    assert len(told["git"]["commit"]) == 40
    assert told["git"]["dirty"] is False
    assert set(told["tools"]) == {"mdeploy", "python", "platform", "uv", "bentoml"}
    assert re.fullmatch(r"\d+\.\d+\.\d+ 1\.4\.\d+", f"{told['tools']['uv']} {told['tools']['bentoml']}")
    assert str(tmp_path) not in json.dumps(told)
    (recipe.root / "modeldeploy.lock").write_bytes((recipe.root / "modeldeploy.lock").read_bytes() + b"# x\n")
    assert workshop.build(recipe).unchanged


def commit(folder: Path) -> None:
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)


def test_every_input_is_part_of_the_digest(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p", own_service=True)
    (recipe.root / "labels.txt").write_text("a b c")
    (recipe.root / "golden.json").write_text('[{"path": "/double", "body": {"number": 1}, "expect": {}}]')
    variants = [
        recipe,
        replace(recipe, version="1.0.1"),
        replace(recipe, name="letters"),
        replace(recipe, entrypoint="service:Other"),
        replace(recipe, include=("*.py", "labels.txt")),
        replace(recipe, golden=recipe.root / "golden.json"),
        replace(recipe, golden=recipe.root / "golden.json", rtol=0.5),
        replace(recipe, license="MIT"),
        replace(recipe, metadata={"accuracy": 0.9}),
    ]
    digests = [gather(variant, emit=Told()).digest() for variant in variants]
    (recipe.root / "service.py").chmod(0o755)
    digests.append(gather(recipe, emit=Told()).digest())
    write_model(recipe.model, seed=2)
    digests.append(gather(recipe, emit=Told()).digest())
    text = (recipe.root / "modeldeploy.lock").read_text()
    (recipe.root / "modeldeploy.lock").write_text(text.replace("sha256:0", "sha256:1"))
    digests.append(gather(recipe, emit=Told()).digest())
    (recipe.root / "modeldeploy.lock").write_text(text.replace(" on Python 3.", " on Python 3.1"))
    digests.append(gather(recipe, emit=Told()).digest())
    assert len(set(digests)) == len(variants) + 4


def test_licence_metadata_platforms_and_the_exact_python_are_in_the_manifest(
    workshop: Workshop, tmp_path: Path
) -> None:
    recipe = workshop.project(tmp_path / "p")
    told = {"accuracy": {"test": 0.98}, "lineage": ["run-7", 3, True], "data": "Ziffern é"}
    built = workshop.build(replace(recipe, license="Apache-2.0 OR MIT", metadata=told))
    manifest = Manifest.read(built.path)
    assert (manifest.license, manifest.metadata) == ("Apache-2.0 OR MIT", told)
    assert manifest.python_full == platform.python_version()
    assert manifest.digest() == built.ref.digest
    assert workshop.build(replace(recipe, license="Apache-2.0 OR MIT", metadata=told)).unchanged
    with pytest.raises(BundleError, match="license changed, metadata changed"):
        workshop.build(recipe)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, None),
        (
            {"GITHUB_SERVER_URL": "https://git.example", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"},
            {"name": "github", "run": "https://git.example/a/b/actions/runs/7"},
        ),
        (
            {"CI_JOB_URL": "https://git.example/-/jobs/7"},
            {"name": "gitlab", "run": "https://git.example/-/jobs/7"},
        ),
        ({"BUILD_URL": "https://me:hunter2@ci.example/7"}, None),
        ({"BUILD_URL": "https://ci.example/7?token=hunter2"}, None),
        ({"BUILD_URL": "/home/me"}, None),
        ({"GITHUB_RUN_ID": "7"}, None),
    ],
)
def test_the_run_of_a_ci_is_told_without_passwords(
    variables: dict[str, str], told: dict[str, str] | None
) -> None:
    assert facts.ci_run(variables) == told


def test_a_killed_build_leaves_nothing_behind(workshop: Workshop, tmp_path: Path) -> None:
    slow = OWN_SERVICE + "\nimport pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(60)\n"
    recipe = workshop.project(tmp_path / "p", own_service=True, text=slow)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    code = (
        "from pathlib import Path, PosixPath; from modeldeploy.bundle.recipe import *;"
        "from modeldeploy.bundle.build import build_recipe;"
        f"build_recipe({recipe!r}, emit=lambda event: None)"
    )
    env = {**os.environ, "TMPDIR": str(temporary)}
    work = workshop.home / "bundles" / "work"
    with subprocess.Popen([sys.executable, "-c", code], env=env, start_new_session=True) as child:
        deadline = time.monotonic() + 60
        while not list(work.glob("*/src/begun")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert list(work.glob("*/src/begun"))
        os.killpg(child.pid, signal.SIGKILL)
    assert list(work.iterdir())
    (recipe.root / "service.py").write_text(OWN_SERVICE)
    workshop.build(recipe)
    assert not list(work.iterdir())
    assert not list(temporary.iterdir())


def test_a_version_with_other_content_is_refused_before_anything_is_made(
    workshop: Workshop, tmp_path: Path
) -> None:
    recipe = workshop.project(tmp_path / "p", own_service=True)
    workshop.build(recipe)
    (recipe.root / "service.py").write_text(OWN_SERVICE.replace("2 *", "3 *"))
    told = Told()
    with pytest.raises(BundleError, match=r"digits:1.0.0 exists with other content .*src/service.py changed"):
        workshop.build(recipe, told)
    assert not told.events


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        (
            "import bentoml\nimport no_such_thing\n",
            "service.py:2: ModuleNotFoundError",
            "[build] requirements",
        ),
        ("import bentoml\n\ndef broken(:\n", "service.py:3: SyntaxError", "put it right"),
        ("import bentoml\nraise RuntimeError('no weights')\n", "service.py:2: RuntimeError: no weights", ""),
        ("import bentoml\n", "Echo is not there; services in that module: none", "'service:Echo'"),
        (OWN_SERVICE.replace("Echo", "Other"), "services in that module: Other", ""),
        ("Echo = 1\n", "service.Echo is no BentoML service", ""),
        ("import sys\nsys.exit(3)\n", "service.py:2: SystemExit: 3", ""),
    ],
)
def test_a_broken_service_is_told_by_file_and_line(
    text: str, said: str, hint: str, workshop: Workshop, tmp_path: Path
) -> None:
    recipe = workshop.project(tmp_path / "p", own_service=True, text=text)
    with pytest.raises(BundleError) as caught:
        workshop.build(recipe)
    assert said in caught.value.message
    assert hint in (caught.value.hint or "")
    assert not list((workshop.home / "bundles" / "work").iterdir())
    output = "\n".join(caught.value.details["output"])  # type: ignore[arg-type]  # a list of lines
    assert str(workshop.home) not in caught.value.message + output


def test_a_service_that_writes_files_while_it_is_imported_does_not_change_its_bundle(
    workshop: Workshop, tmp_path: Path
) -> None:
    text = OWN_SERVICE + "\nopen('cache.tmp', 'w').write('x')\n"
    built = workshop.build(workshop.project(tmp_path / "p", own_service=True, text=text))
    assert not list(built.path.rglob("cache.tmp"))
    BundleStore().check(built.path, full=True)


def test_packages_that_a_service_asks_for_by_itself_are_warned_of(workshop: Workshop, tmp_path: Path) -> None:
    image = "@bentoml.service(image=bentoml.images.Image().python_packages('pandas'))"
    text = OWN_SERVICE.replace("@bentoml.service", image)
    told = Told()
    workshop.build(workshop.project(tmp_path / "p", own_service=True, text=text), told)
    (warning,) = told.warnings()
    assert "pandas" in warning
    assert "[build] requirements" in warning


def test_an_entrypoint_whose_file_is_not_included_is_told(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p", own_service=True)
    with pytest.raises(BundleError, match=r"include does not take in service.py") as caught:
        workshop.build(replace(recipe, include=()))
    assert caught.value.hint == 'set include = ["service.py"]'


@pytest.mark.parametrize("name", ["mdeploy_serving/x.py", "mdeploy_service.py"])
def test_files_under_mdeploys_own_names_are_refused(name: str, workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p")
    (recipe.root / name).parent.mkdir(exist_ok=True)
    (recipe.root / name).touch()
    with pytest.raises(BundleError, match="mdeploy puts files of its own"):
        workshop.build(replace(recipe, include=("**",)))


def test_any_model_will_do_for_an_own_service_and_is_not_unpickled(
    workshop: Workshop, tmp_path: Path
) -> None:
    recipe = workshop.project(tmp_path / "p", own_service=True)
    (recipe.root / "model.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    recipe = replace(recipe, models=(ModelRecipe("digits", recipe.root / "model.pkl"),))
    with pytest.raises(BundleError, match=r"model.pkl is dangerous to load: .* os.system"):
        workshop.build(recipe)
    built = workshop.build(replace(recipe, trust={"model.pkl": "made for this test"}))
    manifest = Manifest.read(built.path)
    assert (manifest.framework, manifest.signature, manifest.model) == ("custom", None, ("src/model.pkl",))
    assert not list(tmp_path.rglob("pwned"))


def test_a_model_that_changes_while_it_is_copied_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p")
    workshop.build(recipe)
    write_model(recipe.model, seed=5)

    copy = stage._clone

    def copy_while_training_writes(source: Path, place: Path) -> None:
        copy(source, place)
        if source == recipe.model:
            write_model(source, seed=6)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "_clone", copy_while_training_writes)
        with pytest.raises(BundleError, match=r"model.onnx changed while it was put into the bundle"):
            workshop.build(replace(recipe, version="2"))


def test_two_builds_at_once_of_the_same_project_both_succeed(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p")
    workshop.build(recipe)
    recipe = replace(recipe, version="2")
    results: list[Built] = []
    threads = [threading.Thread(target=lambda: results.append(workshop.build(recipe))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({built.ref.digest for built in results}) == 1
    assert not all(built.unchanged for built in results)


def test_a_damaged_bundle_is_made_again_by_building(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p")
    built = workshop.build(recipe)
    victim = built.path / "src" / "model.onnx"
    victim.chmod(0o600)
    victim.write_bytes(b"torn")
    again = workshop.build(recipe)
    assert again == built
    BundleStore().check(built.path, full=True)


def test_a_full_disk_is_told_and_leaves_nothing(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p")
    workshop.build(recipe)
    with small_disk(tmp_path / "small", "300k") as small:
        recipe.model.write_bytes(write_model(tmp_path / "m.onnx", seed=9).read_bytes())
        (recipe.root / "ballast.bin").write_bytes(bytes(500_000))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BundleStore, "__init__", lambda self: setattr(self, "folder", small / "bundles"))
            with pytest.raises(ModelDeployError, match="no space left"):
                workshop.build(replace(recipe, version="2", include=("*.bin",)))
        assert not list((small / "bundles" / "work").iterdir())


def test_left_out_folders_are_told_once_when_something_is_built(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p")
    (recipe.root / ".venv").mkdir()
    (recipe.root / ".venv" / "x.py").touch()
    told = Told()
    workshop.build(replace(recipe, include=("**/*.py",)), told)
    assert told.warnings() == ["left out: .venv/"]


def test_golden_samples_that_do_not_fit_stop_the_build(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p")
    arrays: dict[str, Any] = {"input/pixels": np.zeros((2, 5), "float32"), "output/label": [0, 1]}
    np.savez(recipe.root / "golden.npz", **arrays)
    with pytest.raises(BundleError, match=r"golden.npz does not fit: 'input/pixels' has shape \[2, 5\]"):
        workshop.build(replace(recipe, golden=recipe.root / "golden.npz"))


def test_a_project_file_is_built_as_it_says(workshop: Workshop, tmp_path: Path) -> None:
    workshop.project(tmp_path, own_service=True)
    (tmp_path / "modeldeploy.toml").write_text(
        f"""
        [project]
        name = "echo"
        version = "2.0.0-RC.1+local"
        [model]
        path = "model.onnx"
        [service]
        entrypoint = "service:Echo"
        [build]
        python = "{PYTHON}"
        include = ["*.py"]
        [targets.local]
        driver = "process"
        port = 8080
        """
    )
    built = build(load(tmp_path), emit=Told())
    assert str(built.ref) == "echo:2.0.0-RC.1+local"
    assert 'version: "2.0.0-rc.1-local"' in (built.path / "bento.yaml").read_text()
    assert Manifest.read(built.path).entrypoint == "service:Echo"
