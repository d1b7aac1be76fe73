"""The process target keeps the contract with a real bundle: built from the template, in its environment."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from modeldeploy.bundle.build import Built
from modeldeploy.model import HttpRequest, RevisionId, RevisionSpec, Sealed
from modeldeploy.ops import making
from modeldeploy.targets.process import ProcessTarget
from modeldeploy.testing import Place, TargetContract
from process_place import free_port

TEMPLATE = Path(__file__).parents[2] / "templates/onnx"

pytestmark = pytest.mark.story


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The template's bundle, in a home of its own."""
    folder = tmp_path_factory.mktemp("bundle")
    shutil.copytree(TEMPLATE, folder / "digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDEPLOY_HOME", str(folder / "home"))
        return making.build(folder / "digits", emit=lambda event: None)


@pytest.fixture(scope="module")
def spoiled(bundle: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same bundle with a model that cannot be loaded."""
    copy = tmp_path_factory.mktemp("spoiled") / "bundle"
    shutil.copytree(bundle.path, copy)
    for model in copy.rglob("*.onnx"):
        model.unlink()
        model.write_bytes(b"not a model")
    return copy


@pytest.fixture(scope="module")
def new_place(bundle: Built, spoiled: Path) -> Callable[[], Place]:
    home = bundle.path.parents[1]
    names = (f"local-{number}" for number in count())
    good = RevisionSpec(
        RevisionId("1.0.0-00000001"),
        "digits",
        bundle.ref,
        str(bundle.path),
        "000001-0",
        env=Sealed({"A": "b"}),
    )

    def lay_out() -> Place:
        name, options = next(names), {"port": free_port()}

        def open_() -> ProcessTarget:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("MDEPLOY_HOME", str(home))
                return ProcessTarget("digits", name, options)

        return Place(
            open=open_,
            good=good,
            other=replace(good, id=RevisionId("1.0.0-00000002"), replicas=2),
            slow=replace(good, id=RevisionId("1.0.0-00000003")),  # it takes a second to load
            broken=replace(good, id=RevisionId("1.0.0-00000004"), bundle_path=str(spoiled)),
            probe=HttpRequest(
                "POST",
                "/predict",
                (TEMPLATE / "samples.json").read_bytes(),
                {"content-type": "application/json"},
            ),
        )

    return lay_out


class TestProcessWithBundle(TargetContract):
    """All tests come from the contract."""
