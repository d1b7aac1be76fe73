"""Why two bundles differ is told by file, package and setting; nothing secret is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundle_place import OWN_SERVICE, Told, Workshop, write_model
from modeldeploy.bundle import bento, build, compare, lock
from modeldeploy.bundle.compare import Content, Differences
from modeldeploy.bundle.manifest import Golden, Manifest
from modeldeploy.bundle.signature import Signature, TensorSpec
from modeldeploy.bundle.stage import Item
from modeldeploy.cli.jsonlines import plain

HASH = "--hash=sha256:" + "0" * 64
LOCK = f"numpy==2.1.0 \\\n    {HASH}\nuvloop==0.19 ; sys_platform != 'win32' \\\n    {HASH}\n"
SIGNATURE = Signature(
    (TensorSpec("pixels", "float32", ("batch", 4)),), (TensorSpec("label", "int64", ("batch",)),)
)


def side(files: dict[str, bytes] | None = None, *, locked: str = LOCK, **settings: Any) -> Content:
    """A bundle with these files."""
    items = [Item.of_bytes(path, content) for path, content in (files or {}).items()]
    fields: dict[str, Any] = {
        "name": "digits",
        "version": "1.0.0",
        "framework": "onnx",
        "entrypoint": "service:S",
        "model": ("src/model.onnx",),
        "python": "3.11",
        "lock": lock.Lock(locked).digest,
        "requirements": (),
        "signature": SIGNATURE,
        "golden": Golden("golden.json", 3, 1e-4, 1e-5),
        "files": tuple(item.file for item in items),
    }
    return Content("digits", Manifest(**(fields | settings)), locked, (files or {}).get)


def differ(before: Content, after: Content) -> Differences:
    """The differences, which must be JSON values."""
    found = compare.differences(before, after)
    json.dumps(plain(found))
    return found


def test_the_same_content_is_told_as_the_same() -> None:
    found = differ(side({"a": b"1"}), side({"a": b"1"}))
    assert found.same
    assert found.summary.startswith("the same content, sha256:")
    assert found.before.digest == found.after.digest
    facts = {"git": {"commit": "abc", "dirty": False}}
    found = differ(side({"a": b"1"}), replace(side({"a": b"1"}), facts=facts))
    assert found.same
    assert "differ only in where they were built" in found.summary
    assert [(one.key, one.after) for one in found.facts] == [("git.commit", "abc"), ("git.dirty", False)]


def test_files_are_told_by_kind_change_and_size_with_the_lines_of_small_texts() -> None:
    before = {
        "src/model.onnx": b"\0" * 10,
        "src/service.py": b"a\nb\nc\n",
        "src/old.txt": b"x",
        "golden.json": b"[]",
        "src/mdeploy_serving/worker.py": b"1",
        "src/mdeploy_service.json": b"{}",
        "bento.yaml": b"1",
    }
    after = {
        "src/model.onnx": b"\1" * 12,
        "src/service.py": b"a\nB\nc\n",
        "src/new.txt": b"y",
        "golden.json": b"[1]",
        "src/mdeploy_serving/worker.py": b"2",
        "src/mdeploy_service.json": b"{ }",
        "bento.yaml": b"2",
    }
    found = {change.path: change for change in differ(side(before), side(after)).files}
    assert {path: (one.kind, one.change) for path, one in found.items()} == {
        "bento.yaml": ("bentoml", "changed"),
        "golden.json": ("golden", "changed"),
        "src/mdeploy_service.json": ("generated", "changed"),
        "src/mdeploy_serving/worker.py": ("serving", "changed"),
        "src/model.onnx": ("model", "changed"),
        "src/new.txt": ("code", "added"),
        "src/old.txt": ("code", "removed"),
        "src/service.py": ("code", "changed"),
    }
    assert (found["src/model.onnx"].before, found["src/model.onnx"].after) == (10, 12)
    assert found["src/service.py"].diff == ("@@ -1,3 +1,3 @@", " a", "-b", "+B", " c")
    assert not found["bento.yaml"].diff  # follows from the others
    assert not found["src/model.onnx"].diff


def test_what_bentoml_made_is_shown_where_nothing_else_differs() -> None:
    found = differ(side({"bento.yaml": b"a: 1\n"}), side({"bento.yaml": b"a: 2\n"}))
    assert found.summary == "BentoML made something else of the same files, packages and settings"
    assert found.files[0].diff == ("@@ -1 +1 @@", "-a: 1", "+a: 2")


def test_an_executable_bit_is_a_difference() -> None:
    before = side({"run.sh": b"#!"})
    item = Item.of_bytes("run.sh", b"#!", executable=True)
    after = replace(before, manifest=replace(before.manifest, files=(item.file,)))
    assert [one.change for one in differ(before, after).files] == ["mode"]


def test_packages_are_told_by_version_platform_and_hash() -> None:
    new = (
        f"numpy==2.2.0 ; python_version < '3.12' \\\n    {HASH}\n"
        f"numpy==2.3.0 ; python_version >= '3.12' \\\n    {HASH}\n"
        f"uvloop==0.19 ; sys_platform != 'win32' \\\n    {HASH[:-1]}1\nsix==1.16.0 \\\n    {HASH}\n"
    )
    found = differ(side(), side(locked=new)).packages
    assert [(one.name, one.before, one.after, one.hashes_only) for one in found] == [
        ("numpy", "2.1.0", "2.2.0 (python_version < '3.12'), 2.3.0 (python_version >= '3.12')", False),
        ("six", None, "1.16.0", False),
        ("uvloop", "0.19 (sys_platform != 'win32')", "0.19 (sys_platform != 'win32')", True),
    ]


def test_settings_and_the_signature_are_told_by_their_keys() -> None:
    signature = Signature(
        (TensorSpec("pixels", "float64", ("batch", 8)),), (TensorSpec("score", "float32", ("batch",)),)
    )
    after = side(
        signature=signature,
        golden=Golden("golden.json", 4, 0.5, 1e-5),
        license="MIT",
        metadata={"accuracy": {"test": 0.9}},
        platforms=("linux/amd64",),
        version="1.1.0",
    )
    found = {one.key: (one.before, one.after) for one in differ(side(), after).settings}
    assert found == {
        "golden.rtol": (1e-4, 0.5),
        "golden.samples": (3, 4),
        "license": (None, "MIT"),
        "metadata.accuracy.test": (None, 0.9),
        "platforms": (None, ["linux/amd64"]),
        "signature.inputs.pixels.dtype": ("float32", "float64"),
        "signature.inputs.pixels.shape": (["batch", 4], ["batch", 8]),
        "signature.outputs.label.dtype": ("int64", None),
        "signature.outputs.label.shape": (["batch"], None),
        "signature.outputs.score.dtype": (None, "float32"),
        "signature.outputs.score.shape": (None, ["batch"]),
        "version": ("1.0.0", "1.1.0"),
    }


@pytest.mark.parametrize(
    "line",
    [
        "password = 'hunter2'",
        '"api_key": "hunter2"',
        "TOKEN=hunter2",
        "url = 'https://me:hunter2@host.example/x'",
        "-----BEGIN hunter2",
        "x = 'ghp_hunter2hunter2'",
    ],
)
def test_what_looks_like_a_secret_is_not_shown(line: str) -> None:
    found = differ(side({"src/a.py": b"x\n"}), side({"src/a.py": line.encode()}))
    assert "hunter2" not in json.dumps(plain(found))
    assert any("looks like a secret" in shown for shown in found.files[0].diff)


def test_lines_are_bounded_and_harmless_to_a_terminal() -> None:
    many = "".join(f"{number}\n" for number in range(5000)).encode()
    files = {f"src/{name}.py": many for name in "abcdefgh"} | {"src/z.py": b"\x1b]0;owned\x07" + b"z" * 5000}
    found = differ(side(dict.fromkeys(files, b"")), side(files)).files
    assert sum(len(one.diff) for one in found) <= compare.MOST_LINES
    assert max(len(one.diff) for one in found) <= compare.MOST_LINES_EACH
    alone = differ(side({"src/z.py": b""}), side({"src/z.py": files["src/z.py"]})).files[0]
    assert all(line.isprintable() and len(line) < 300 for line in alone.diff)
    assert not differ(side({"src/x": b"\xff"}), side({"src/x": b"\xfe"})).files[0].diff


def test_a_project_is_compared_as_it_is_and_nothing_is_made(workshop: Workshop, tmp_path: Path) -> None:
    recipe = workshop.project(tmp_path / "p", own_service=True)
    built = workshop.build(recipe)
    stored = compare.bundle("digits:1.0.0", built.path)
    known = lock.present(recipe) or lock.Lock("")

    def now(*, made: bool) -> Content:
        inputs = build.look(recipe, known)
        skeleton = bento.remembered(inputs.bento, version=recipe.version)
        assert (skeleton is not None) == made
        return compare.project(inputs, skeleton)

    same = differ(stored, now(made=True))
    assert same.same
    assert same.after.digest == built.ref.digest
    (recipe.root / "service.py").write_text(OWN_SERVICE.replace("2 *", "3 *"))
    write_model(recipe.model, seed=4)
    found = differ(stored, now(made=False))
    assert {one.path: one.change for one in found.files} == {
        "src/model.onnx": "changed",
        "src/service.py": "changed",
    }
    assert found.after.digest is None
    assert '+        return {"doubled": 3 * number, "took": 0.1}' in found.files[1].diff
    assert found.summary == "2 files differ"
    told = Told()
    assert workshop.build(replace(recipe, version="1.0.1"), told).ref.digest != built.ref.digest
