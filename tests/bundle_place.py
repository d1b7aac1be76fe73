"""Projects, models and a shared environment for tests that build bundles."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modeldeploy import files
from modeldeploy.bundle import bento, lock, stage
from modeldeploy.bundle.build import Built, build_recipe
from modeldeploy.bundle.manifest import MANIFEST, Manifest
from modeldeploy.bundle.recipe import ModelRecipe, Recipe
from modeldeploy.bundle.stage import Item
from modeldeploy.bundle.store import BundleStore
from modeldeploy.events import Event

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OWN_SERVICE = """\
import bentoml


@bentoml.service
class Echo:
    @bentoml.api
    def double(self, number: float) -> dict:
        return {"doubled": 2 * number, "took": 0.1}
"""


def write_model(path: Path, *, seed: int = 0, batch: str | int = "batch", ranges: str = "") -> Path:
    """A small classifier: pixels float32 [batch, 4] to label int64 [batch] and probability [batch, 3]."""
    weights = np.random.default_rng(seed).standard_normal((4, 3)).astype("float32")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["pixels", "W"], ["z"]),
            helper.make_node("Softmax", ["z"], ["probability"]),
            helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0),
        ],
        "classifier",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 4])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [batch]),
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, [batch, 3]),
        ],
        [onnx.numpy_helper.from_array(weights, "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if ranges:
        helper.set_model_props(model, {"mdeploy.ranges": ranges})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def recipe_for(root: Path, **changes: Any) -> Recipe:
    """The recipe of a project folder with a ``model.onnx`` and defaults, changed as said."""
    values: dict[str, Any] = {
        "root": root,
        "name": "digits",
        "version": "1.0.0",
        "models": (ModelRecipe("digits", root / "model.onnx"),),
        "golden": None,
        "rtol": 1e-4,
        "atol": 1e-5,
        "entrypoint": None,
        "python": PYTHON,
        "requirements": (),
        "include": (),
        "exclude": (),
    }
    if "model" in changes or "framework" in changes:
        path, framework = changes.pop("model", root / "model.onnx"), changes.pop("framework", None)
        changes["models"] = (ModelRecipe(changes.get("name", "digits"), path, framework),)
    return Recipe(**(values | changes))


def put(
    store: BundleStore, version: str = "1.0.0", code: bytes = b"pass", weights: bytes = b"", **changes: object
) -> Path:
    """Add a small bundle to a store, as a build would, and without one."""
    items = [Item.of_bytes("src/service.py", code), Item.of_bytes("run.sh", b"#!", executable=True)]
    if weights:
        items.append(Item.of_bytes("src/model.onnx", weights))
    fields: dict[str, Any] = {
        "name": "digits",
        "version": version,
        "framework": "custom",
        "entrypoint": "service:S",
        "model": (),
        "python": "3.11",
        "lock": "sha256:0",
        "requirements": (),
        "files": tuple(item.file for item in items),
    }
    manifest = Manifest(**(fields | changes))
    with store.workspace() as folder:
        stage.write([*items, Item.of_bytes(MANIFEST, manifest.to_bytes())], folder, store.take)
        return store.add(folder, manifest)[0].path


@dataclass
class Told:
    """Collects events."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def done(self) -> list[str]:
        """Names of the steps that were finished, in order."""
        return [str(event.data["step"]) for event in self.events if event.data.get("state") == "done"]

    def warnings(self) -> list[str]:
        return [event.message for event in self.events if event.kind == "build.warning"]


@dataclass
class Workshop:
    """A home whose environments all tests share, and projects that have their lock already."""

    home: Path
    shared: Path

    def project(self, folder: Path, *, own_service: bool = False, text: str = OWN_SERVICE) -> Recipe:
        """A folder with a model, and a service of its own if asked for."""
        write_model(folder / "model.onnx")
        changes: Mapping[str, Any] = {}
        if own_service:
            (folder / "service.py").write_text(text)
            changes = {"entrypoint": "service:Echo", "include": ("*.py",)}
        recipe = recipe_for(folder, **changes)
        self.give_lock(recipe)
        return recipe

    def give_lock(self, recipe: Recipe) -> None:
        """Put a lock for the recipe's requirements into its project, resolved once for all tests."""
        kept = self.shared / f"{'own' if recipe.entrypoint else 'onnx'}-{len(recipe.requirements)}.lock"
        with files.locked(self.shared / "lock"):
            if not kept.exists():
                lock.resolve(recipe)
                kept.write_bytes((recipe.root / lock.FILENAME).read_bytes())
        (recipe.root / lock.FILENAME).write_bytes(kept.read_bytes())

    def forget(self) -> None:
        """Let everything that is only remembered be made again."""
        (self.home / "cache" / bento.CACHE).unlink()
        shutil.rmtree(self.home / "cache")

    @staticmethod
    def build(recipe: Recipe, told: Told | None = None) -> Built:
        return build_recipe(recipe, emit=told or Told())


@pytest.fixture
def workshop(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """This test's home. Environments, locks and what BentoML makes are made once per test run."""
    shared = tmp_path_factory.getbasetemp() / "bundles"
    (shared / "envs").mkdir(parents=True, exist_ok=True)
    files.home()
    (home / "envs").symlink_to(shared / "envs")
    (shared / "skeletons").mkdir(exist_ok=True)
    (home / "cache").mkdir()
    (home / "cache" / bento.CACHE).symlink_to(shared / "skeletons")
    return Workshop(home, shared)
