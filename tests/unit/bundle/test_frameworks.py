"""Models of many frameworks are told apart by their content, and read where their framework is."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundle_place import Told, Workshop, recipe_for, write_model
from framework_place import TABLES, environment
from modeldeploy.bundle import described, formats, frameworks, inspection, lock
from modeldeploy.bundle.build import gather, look
from modeldeploy.bundle.described import Bundled
from modeldeploy.bundle.frameworks import packages
from modeldeploy.bundle.recipe import ModelRecipe
from modeldeploy.bundle.service import signature_of
from modeldeploy.bundle.signature import Signature, TensorSpec
from modeldeploy.errors import BundleError

LOCK = lock.Lock("scikit-learn==1.7.0\nxgboost-cpu==3.0.0\n")
TRAINING = """
import sys, numpy as np, xgboost, skops.io, lightgbm, pickle
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from sklearn.preprocessing import FunctionTransformer
from sklearn.pipeline import make_pipeline
X, y = load_iris(return_X_y=True)
xgboost.XGBClassifier(n_estimators=3).fit(X, y).save_model("model.ubj")
skops.io.dump(LogisticRegression(max_iter=1000).fit(X, y), "model.skops")
skops.io.dump(DecisionTreeClassifier().fit(X, y), "tree.skops")
pickle.dump(LogisticRegression(max_iter=1000).fit(X, y), open("model.pkl", "wb"))
"""


def archive(*names: str, size: int = 3) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as made:
        for name in names:
            made.writestr(name, b"0" * size)
    return content.getvalue()


KNOWN: dict[str, tuple[bytes, str, str | None]] = {
    "skops": (archive("1.npy", "schema.json"), "sklearn", "skops"),
    "torch.export": (archive("m/archive_format", "m/models/model.json"), "torch", "exported"),
    "torch.export, older": (archive("serialized_exported_program.json", "version"), "torch", "exported"),
    "TorchScript": (archive("m/constants.pkl", "m/data.pkl", "m/code/__torch__.py"), "torch", "torchscript"),
    "XGBoost JSON": (b'{"learner":{"attributes":{}}}', "xgboost", None),
    "XGBoost UBJSON": (b"{L\0\0\0\0\0\0\0\x07learner{L", "xgboost", None),
    "LightGBM": (b"tree\nversion=v4\n", "lightgbm", None),
}
MISTAKEN: dict[str, tuple[bytes, str, str]] = {
    "weights of PyTorch": (archive("m/data.pkl", "m/data/0"), "what torch.save writes", "export.save"),
    "Keras": (archive("config.json", "model.weights.h5"), "a Keras model", 'model.export("model")'),
    "Keras HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file", 'model.export("model")'),
    "old XGBoost": (b"binf" + bytes(64), "in its old binary format", 'booster.save_model("model.ubj")'),
    "a dump of XGBoost": (b'[{"nodeid": 0}]', "a JSON text", 'booster.save_model("model.ubj")'),
    "a pickle": (pickle.dumps({"w": 1}), "a Python pickle", 'skops.io.dump(model, "model.skops")'),
    "arrays": (archive("a.npy", "b.npy"), "a file of NumPy arrays", "service:NAME"),
    "another archive": (archive("word/document.xml"), "of no kind that holds a model", "service:NAME"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KNOWN)
def test_a_framework_is_told_by_content_whatever_the_file_is_called(kind: str, tmp_path: Path) -> None:
    content, framework, form = KNOWN[kind]
    (tmp_path / "model.bin").write_bytes(content)
    found = formats.recognise(tmp_path / "model.bin")
    assert (found.framework, found.options.get("format")) == (framework, form)


@pytest.mark.parametrize("kind", MISTAKEN)
def test_a_near_miss_gets_the_line_that_exports_a_model(kind: str, tmp_path: Path) -> None:
    content, words, line = MISTAKEN[kind]
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(BundleError) as caught:
        formats.recognise(tmp_path / "model.bin")
    assert f"model.bin is {words}" in caught.value.message or words in caught.value.message
    assert line in (caught.value.hint or "")


def test_an_archive_that_unpacks_to_hundreds_of_times_its_size_is_a_bomb(tmp_path: Path) -> None:
    content = archive("schema.json", size=1 << 21)
    bomb = bytearray(content)
    for place in (content.rfind(b"PK\x01\x02") + 24, 22):  # the sizes that the archive says
        bomb[place : place + 4] = (0xF0000000).to_bytes(4, "little")
    (tmp_path / "model.skops").write_bytes(bomb)
    with pytest.raises(BundleError, match="a zip bomb"):
        formats.recognise(tmp_path / "model.skops")


def test_an_archive_that_is_cut_off_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(archive("schema.json", "a.npy")[:-30])
    with pytest.raises(BundleError, match=r"model.skops is damaged: it is a damaged zip archive"):
        formats.recognise(tmp_path / "model.skops")


def test_a_folder_is_a_saved_model_or_gets_told_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(BundleError, match=r"no saved_model.pb\): it is empty"):
        formats.recognise(tmp_path / "model")
    (tmp_path / "model" / "MLmodel").write_text("flavors:\n")
    with pytest.raises(BundleError, match="it holds MLmodel") as caught:
        formats.recognise(tmp_path / "model")
    assert "MLflow's" in (caught.value.hint or "")
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"\x08\x01")
    assert formats.recognise(tmp_path / "model").framework == "tensorflow"


def test_the_files_of_a_folder_all_belong_to_the_model(tmp_path: Path) -> None:
    for name in ("saved_model.pb", "variables/variables.index"):
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(b"x")
    facts = inspection.inspect(tmp_path / "model")
    assert facts.path == facts.folder == tmp_path / "model"
    assert [path.name for path in facts.files] == ["saved_model.pb", "variables.index"]
    assert facts.signature is None  # only the bundle's environment could tell


def test_another_framework_than_insisted_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_bytes(KNOWN["LightGBM"][0])
    with pytest.raises(BundleError, match=r"framework is 'xgboost', but model.txt is a LightGBM model"):
        formats.recognise(tmp_path / "model.txt", insisted="xgboost")


@pytest.mark.parametrize(
    ("named", "wanted", "missing"),
    [
        ((), ["xgboost-cpu>=2.1,<4; sys_platform == 'linux'"], []),
        (("xgboost==3.0.0",), [], ["xgboost"]),
        (("XGBoost_CPU>=3",), [], ["xgboost"]),
    ],
)
def test_what_the_project_requires_stands_in_for_ours(
    named: Sequence[str], wanted: list[str], missing: list[str]
) -> None:
    made = packages(["xgboost"], named)
    assert set(wanted) <= set(made)
    assert not any(each.startswith(name) for each in made for name in missing)


def test_the_lock_asks_for_the_frameworks_of_all_models(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(KNOWN["LightGBM"][0])
    (tmp_path / "b").write_bytes(KNOWN["skops"][0])
    write_model(tmp_path / "c")
    models = tuple(ModelRecipe(name, tmp_path / name) for name in "abc")
    wanted = lock.wanted(recipe_for(tmp_path, models=models))
    assert {each.split(">")[0] for each in wanted} >= {"lightgbm", "skops", "scikit-learn", "onnxruntime"}
    assert "onnxruntime" not in str(lock.wanted(recipe_for(tmp_path, models=models[:2])))


# Below, models are read for real, in an environment that has their frameworks.


@pytest.fixture(scope="session")
def python() -> Path:
    return environment("tables", TABLES)


@pytest.fixture(scope="session")
def trained(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from modeldeploy import shell

    folder = tmp_path_factory.mktemp("trained")
    shell.run([python, "-W", "ignore", "-c", TRAINING], cwd=folder, timeout=120)
    return folder


def bundled(python: Path, times: list[int] | None = None) -> Bundled:
    def made() -> Path:
        (times if times is not None else []).append(1)
        return python

    return Bundled(lambda: LOCK, made)


def test_a_model_is_read_once_and_then_known_by_its_content(
    python: Path, trained: Path, tmp_path: Path
) -> None:
    times: list[int] = []
    first = inspection.inspect(trained / "model.ubj", bundled=bundled(python, times))
    assert first.signature is not None
    assert first.signature.inputs == (TensorSpec("features", "float32", ("batch", 4), nan=True),)
    assert [spec.name for spec in first.signature.outputs] == ["label", "probabilities"]
    (tmp_path / "copy").write_bytes((trained / "model.ubj").read_bytes())
    again = inspection.inspect(tmp_path / "copy", bundled=bundled(python, times))
    assert again.signature == first.signature and len(times) == 1


def test_another_version_of_the_framework_reads_it_anew(python: Path, trained: Path) -> None:
    times: list[int] = []
    inspection.inspect(trained / "model.ubj", bundled=bundled(python, times))
    newer = lock.Lock(LOCK.text.replace("xgboost-cpu==3.0.0", "xgboost-cpu==3.0.1"))
    inspection.inspect(trained / "model.ubj", bundled=replace(bundled(python, times), lock=lambda: newer))
    assert len(times) == 2


def test_the_matrix_of_a_table_may_come_apart_in_columns(python: Path, trained: Path) -> None:
    columns = tuple(TensorSpec(name, "float32", ("batch",), nan=None) for name in "abcd")
    asked = ModelRecipe("m", trained / "model.ubj", inputs=columns)
    facts = inspection.inspect(asked.path, asked=asked, bundled=bundled(python))
    missing = tuple(replace(each, nan=True) for each in columns)  # as in the matrix
    assert facts.signature is not None and facts.signature.inputs == missing
    strict = replace(asked, inputs=tuple(replace(each, nan=False) for each in columns))
    facts = inspection.inspect(asked.path, asked=strict, bundled=bundled(python))
    assert facts.signature is not None and facts.signature.inputs == strict.inputs
    wide = ModelRecipe("m", asked.path, inputs=(TensorSpec("features", "float64", ("batch", 4)),))
    facts = inspection.inspect(asked.path, asked=wide, bundled=bundled(python))
    assert facts.signature is not None and facts.signature.inputs[0].dtype == "float64"


def test_types_that_are_not_known_to_be_safe_are_named_and_can_be_trusted(
    python: Path, trained: Path
) -> None:
    model = trained / "tree.skops"
    with pytest.raises(BundleError, match=r"not known to be safe to load: sklearn.tree._tree.Tree") as caught:
        inspection.inspect(model, bundled=bundled(python), code=trained)
    assert '[scan.trust] "tree.skops"' in (caught.value.hint or "")
    facts = inspection.inspect(model, bundled=bundled(python), trusted=True)
    assert facts.options == {"format": "skops", "trusted": ["sklearn.tree._tree.Tree"]}


def test_a_pickle_is_loaded_only_if_the_project_insists_and_trusts_it(python: Path, trained: Path) -> None:
    model = trained / "model.pkl"
    with pytest.raises(BundleError, match="is a Python pickle"):
        inspection.inspect(model, bundled=bundled(python))
    with pytest.raises(BundleError, match="can run any code when it is loaded") as caught:
        inspection.inspect(model, insisted="sklearn", bundled=bundled(python), code=trained)
    assert '[scan.trust] "model.pkl"' in (caught.value.hint or "")
    facts = inspection.inspect(model, insisted="sklearn", bundled=bundled(python), trusted=True)
    assert facts.options == {"format": "pickle"} and facts.signature is not None


def test_a_file_made_to_run_code_does_not(python: Path, tmp_path: Path) -> None:
    evil = f"cposix\nsystem\n(S'touch {tmp_path}/ran'\ntR.".encode()
    (tmp_path / "model.pkl").write_bytes(b"\x80\x02" + evil)
    schema: dict[str, Any] = {
        "__class__": "system", "__module__": "posix", "__loader__": "FunctionNode", "__id__": 1, "content": 1,
        "protocol": 2, "_skops_version": "0.11",
    }  # fmt: skip
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as made:
        made.writestr("schema.json", json.dumps(schema))
    for name, insisted in (("model.pkl", "sklearn"), ("model.skops", None)):
        with pytest.raises(BundleError):
            inspection.inspect(tmp_path / name, insisted=insisted, bundled=bundled(python))
    assert not (tmp_path / "ran").exists()


def test_what_the_framework_says_of_damage_becomes_a_sentence(
    python: Path, trained: Path, tmp_path: Path
) -> None:
    whole = (trained / "model.ubj").read_bytes()
    (tmp_path / "model.ubj").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match=r"model.ubj (does not load|could not be read)"):
        inspection.inspect(tmp_path / "model.ubj", bundled=bundled(python))


def test_a_reader_that_crashes_hangs_or_is_not_there_becomes_a_sentence(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, crashing, hanging = trained / "model.ubj", tmp_path / "crashing", tmp_path / "hanging"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    hanging.write_text("#!/bin/sh\nexec sleep 30\n")
    for program in (crashing, hanging):
        program.chmod(0o755)
    with pytest.raises(BundleError, match=r"it makes xgboost crash \(SIGSEGV\)"):
        inspection.inspect(model, bundled=bundled(crashing))
    monkeypatch.setattr(described, "SECONDS", 0.3)
    with pytest.raises(BundleError, match=r"xgboost did not load it within 0.3 s"):
        inspection.inspect(model, bundled=bundled(hanging))


def test_a_class_of_the_projects_own_needs_its_name_and_its_tensors(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.bin").write_bytes(b"x")
    asked = ModelRecipe("m", tmp_path / "weights", framework="python")
    with pytest.raises(BundleError, match="but no class is named"):
        inspection.inspect(asked.path, insisted="python", asked=asked)
    facts = inspection.inspect(asked.path, insisted="python", asked=replace(asked, python_class="m:C"))
    assert facts.framework == frameworks.PYTHON and facts.options == {"class": "m:C"}
    assert facts.path == tmp_path / "weights"


@pytest.mark.parametrize(
    ("said", "known", "settled"),
    [(None, True, True), (False, True, False), (True, False, True), (None, None, False), (True, None, True)],
)
def test_the_project_has_the_last_word_on_missing_values(
    tmp_path: Path, *, said: bool | None, known: bool | None, settled: bool
) -> None:
    """``known``: what the model's file says; None if it says nothing of its inputs."""
    one = TensorSpec("x", "float32", ("n",))
    read = () if known is None else (replace(one, nan=known),)
    facts = inspection.ModelFacts(frameworks.XGBOOST, (tmp_path,), Signature(read, (one,)))
    asked = ModelRecipe("m", tmp_path, inputs=(replace(one, nan=said),))
    assert signature_of(asked, facts).inputs == (replace(one, nan=settled),)


def test_an_onnx_project_needs_no_environment_to_be_looked_at(home: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "p" / "model.onnx")
    models = (ModelRecipe("digits", tmp_path / "p" / "model.onnx"),)
    inputs = look(recipe_for(tmp_path / "p", models=models), lock.Lock(""))
    assert inputs.models[0].signature is not None
    assert not (home / "envs").exists()


def test_a_project_that_was_never_locked_says_so_when_it_is_only_looked_at(
    trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.ubj").write_bytes((trained / "model.ubj").read_bytes())
    recipe = recipe_for(tmp_path, models=(ModelRecipe("digits", tmp_path / "model.ubj"),))
    with pytest.raises(BundleError, match="not locked yet"):
        look(recipe, lock.Lock(""))


def test_a_bundle_of_xgboost_is_built_recorded_and_verified(
    workshop: Workshop, trained: Path, tmp_path: Path
) -> None:
    from modeldeploy.bundle import golden, trial
    from modeldeploy.bundle.recording import record_recipe

    project = tmp_path / "project"
    project.mkdir()
    (project / "model.ubj").write_bytes((trained / "model.ubj").read_bytes())
    recipe = recipe_for(project, models=(ModelRecipe("digits", project / "model.ubj"),))
    recorded = record_recipe(recipe, emit=Told(), count=5)
    told = Told()
    built = Workshop.build(replace(recipe, golden=recorded.path), told)
    assert "lock" not in told.done()  # it was made, with the environment, to read the model
    with trial.running(built.path, emit=Told()) as call:
        report = golden.verify(call, built.path)
    assert report.passed and report.total == 5
    assert Workshop.build(replace(recipe, golden=recorded.path)).unchanged
    assert gather(recipe, emit=Told()).framework == "xgboost"
