"""What is told of bundles: the list, one in detail, and why two differ, by references as people type them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bundle_place import PYTHON, Told, Workshop, put
from modeldeploy import files, ops
from modeldeploy.bundle import service
from modeldeploy.bundle.store import BundleStore
from modeldeploy.cli.jsonlines import plain
from modeldeploy.errors import BundleError
from modeldeploy.model import BundleRef, RevisionId, RevisionSpec, Traffic
from modeldeploy.ops import image_records
from modeldeploy.targets.process import records
from modeldeploy.targets.process.layout import Layout
from modeldeploy.targets.process.records import Desired, Listen, Stored

FILE = f"""
[project]
name = "digits"
version = "1.0.0"
[model]
path = "model.onnx"
license = "MIT"
[service]
entrypoint = "service:Echo"
[build]
python = "{PYTHON}"
include = ["*.py"]
platforms = []
[metadata]
accuracy = 0.98
[targets.local]
driver = "process"
port = 8080
"""


@pytest.fixture
def project(workshop: Workshop, tmp_path: Path) -> Path:
    """A project that was built."""
    root = tmp_path / "p"
    workshop.project(root, own_service=True)
    (root / "modeldeploy.toml").write_text(FILE)
    ops.build(root, emit=Told())
    return root


def edit(root: Path, old: str, new: str, file: str = "modeldeploy.toml") -> None:
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))


def go_live(digest: str) -> None:
    """A stopped revision of that bundle on the process target."""
    layout = Layout.of("digits", "local")
    layout.make()
    revision = layout.revision(RevisionId("1.0.0-0a0a0a0a"))
    revision.make()
    spec = RevisionSpec(
        RevisionId(revision.root.name), "digits", BundleRef("digits", "1.0.0", digest), "x", "r"
    )
    records.write_spec(revision.spec, Stored(spec, 1.0))
    traffic = Traffic({spec.id: 100}, spec.id)
    records.write_desired(layout, Desired(Listen("127.0.0.1", 1), 1, traffic))
    records.write_report(layout, records.Report(applied=(1, traffic)))


def test_a_bundle_is_told_in_detail(project: Path) -> None:
    digest = BundleStore().digest_of("digits", "1.0.0") or ""
    go_live(digest)
    for ref in (None, "1.0.0", "digits:1.0.0", digest[:20]):
        found = ops.inspect(project, ref, emit=Told())
        assert (found.ref, found.digest) == ("digits:1.0.0", digest)
    json.dumps(plain(found))
    assert not found.generated
    assert (found.license, found.metadata) == ("MIT", {"accuracy": 0.98})
    assert [entry.path for entry in found.models] == ["src/model.onnx"]
    assert found.lock.packages > 40
    assert found.lock.bentoml.startswith("1.4.")
    assert found.lock.python.startswith(f"{PYTHON}.")
    assert found.size > 10_000
    assert set(found.built) == {"built", "ci", "git", "tools"}
    (place,) = found.live
    assert (place.target, place.revision, place.state, place.weight) == (
        "local",
        "1.0.0-0a0a0a0a",
        "stopped",
        100,
    )


def test_models_that_are_one_are_told_with_how_they_are_one(project: Path, tmp_path: Path) -> None:
    tensor = {"name": "x", "dtype": "float32", "shape": ["n", 2]}
    model = {"framework": "onnx", "path": "model.onnx", "inputs": [tensor], "outputs": [tensor]}
    told = {
        "format": 2,
        "name": "digits",
        "inputs": [tensor],
        "outputs": [tensor],
        "models": {"big": model, "small": model},
        "graph": {"kind": "choose", "rules": [{"when": "x[0] < 1", "model": "small"}], "default": "big"},
        "hooks": {"before": "hooks:clean"},
    }
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "mdeploy_service.json").write_text(json.dumps(told))
    read = service.told_in(tmp_path)
    assert read == told
    assert service.shown(read) == "preprocess hooks:clean, small where x[0] < 1; else big"
    (tmp_path / "src" / "mdeploy_service.json").write_text('{"format": 1}')
    assert service.told_in(tmp_path) == {}
    assert ops.inspect(project, "1.0.0", emit=Told()).graph == ""


def test_the_list_tells_age_size_and_where_each_bundle_is(project: Path) -> None:
    put(BundleStore(), "0.1", name="letters")
    go_live(BundleStore().digest_of("digits", "1.0.0") or "")
    found = ops.bundles()
    assert [one.ref for one in found.bundles] == ["digits:1.0.0", "letters:0.1"]
    digits, letters = found.bundles
    assert digits.built.endswith("Z")
    assert [place.target for place in digits.live] == ["local"]
    assert (letters.built, letters.live) == ("", ())
    assert found.disk >= digits.disk + letters.disk
    assert [one.ref for one in ops.bundles(project).bundles] == ["digits:1.0.0"]


def test_why_compares_two_versions_or_one_with_the_project(project: Path) -> None:
    told = Told()
    assert ops.why(project, emit=told).same
    edit(project, "0.98", "0.99")
    edit(project, "2 *", "70 *", "service.py")
    found = ops.why(project, emit=told)
    assert not found.same
    assert found.summary == "1 file and 1 setting differ"
    assert [(one.key, one.before, one.after) for one in found.settings] == [("metadata.accuracy", 0.98, 0.99)]
    assert "is left out here" in found.notes[0]
    with pytest.raises(BundleError, match="exists with other content"):
        ops.build(project, emit=Told())
    edit(project, "1.0.0", "1.1.0")
    ops.build(project, emit=Told())
    found = ops.why(project, "1.0.0", "digits:1.1.0", emit=told)
    assert {one.key for one in found.settings} == {"metadata.accuracy", "version"}
    assert [one.path for one in found.files if one.kind == "code"] == ["src/service.py"]
    assert not told.events  # nothing was built or resolved
    assert ops.why(project, "1.1.0", "1.1.0", emit=told).same


def test_why_tells_of_a_lock_that_no_longer_fits_and_leaves_it(project: Path) -> None:
    before = (project / "modeldeploy.lock").read_bytes()
    edit(project, "[metadata]", 'requirements = ["six==1.16.0"]\n[metadata]')
    found = ops.why(project, emit=Told())
    assert [one.key for one in found.settings] == ["requirements"]
    assert "the next build resolves it" in found.notes[0]
    assert (project / "modeldeploy.lock").read_bytes() == before


def record(bundle: str, name: str, parts: list[tuple[str, str, str, str]]) -> None:
    """A record of an image, as the image cache keeps them."""
    folder = files.private(files.home() / "images" / "made" / bundle.removeprefix("sha256:"))
    manifest: dict[str, Any] = {"digest": "sha256:1", "platform": {"os": "linux", "architecture": "arm64"}}
    told = [[kind, label, diff_id, {"digest": digest, "size": 10}] for kind, label, diff_id, digest in parts]
    value = {"top": f"sha256:{name}", "engine": "none", "platforms": [{"manifest": manifest, "layers": told}]}
    files.write_json(folder / f"{name}.json", value)


def test_images_are_told_and_compared_layer_by_layer() -> None:
    files.home()
    old = [("base", "debian", "d1", "b1"), ("wheel", "numpy 2.1", "d2", "b2"), ("pure", "pure", "d3", "b3")]
    new = [("base", "debian", "d1", "b9"), ("wheel", "numpy 2.2", "d4", "b4"), ("model", "m", "d5", "b5")]
    record("sha256:a", "x", old)
    record("sha256:b", "y", new)
    (files.home() / "images" / "made" / "b" / "torn.json").write_text("{")
    (line,) = image_records.images("sha256:a")
    assert (line.digest, line.engine, line.platforms, line.size) == ("sha256:x", "none", ("linux/arm64",), 30)
    assert image_records.images("sha256:c") == ()
    found = {one.name: one for one in image_records.changes("sha256:a", "sha256:b")}
    assert {name: (one.before, one.after) for name, one in found.items()} == {
        "debian": ("debian b1", "debian b9"),
        "numpy": ("numpy 2.1 b2", "numpy 2.2 b4"),
        "pure": ("pure b3", None),
        "m": (None, "m b5"),
    }
    assert [name for name, one in found.items() if one.compression_only] == ["debian"]
    assert image_records.changes("sha256:a", "sha256:c") == ()
