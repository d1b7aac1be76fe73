from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from image_place import AMD64, image_of, manifest, part
from modeldeploy.errors import ConfigError
from modeldeploy.image import archive, load, output
from modeldeploy.oci.descriptor import Platform
from modeldeploy.oci.layout import Layout


def members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as found:
        return {member.name: found.extractfile(member).read() for member in found}  # type: ignore[union-attr]  # files only


def written(**options: object) -> dict[str, bytes]:
    image = image_of(part("model", "src/model.onnx", b"w" * 5000), part("code", "code"))
    out = io.BytesIO()
    archive.write(image, image.platforms[0], out, moved=lambda _: None, **options)  # type: ignore[arg-type]  # of these
    return members(out.getvalue())


def test_an_archive_is_of_dockers_form_and_of_the_oci_at_once() -> None:
    found = written()
    (docker,) = json.loads(found["manifest.json"])
    assert docker["RepoTags"] == ["digits:1.0.0"]
    assert {docker["Config"], *docker["Layers"]} <= found.keys()
    (entry,) = json.loads(found["index.json"])["manifests"]
    manifest = json.loads(found[f"blobs/sha256/{entry['digest'][7:]}"])
    assert [f"blobs/sha256/{layer['digest'][7:]}" for layer in manifest["layers"]] == docker["Layers"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "digits:1.0.0"


def test_layers_that_the_engine_has_are_left_out_but_stay_listed() -> None:
    whole = written()
    (docker,) = json.loads(whole["manifest.json"])
    left_out = docker["Layers"][1]
    thin = written(without=[f"sha256:{left_out.rpartition('/')[2]}"])
    assert whole.keys() - thin.keys() == {left_out}
    assert json.loads(thin["manifest.json"]) == [docker]


def test_a_plus_in_a_version_becomes_what_a_tag_may_hold() -> None:
    assert archive.reference(image_of(bundle=manifest(version="1.0.0+gpu"))) == "digits:1.0.0_gpu"


def test_chain_ids_are_those_of_the_specification() -> None:
    first, second = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
    assert load.chain_ids([first]) == [first]
    # sha256 of "sha256:1... sha256:2..."
    assert load.chain_ids([first, second])[1] == (
        "sha256:" + __import__("hashlib").sha256(f"{first} {second}".encode()).hexdigest()
    )


def test_an_engine_that_is_not_there_is_told_with_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(load.LoadFailed, match="'podman' is not on this machine") as caught:
        load.load(image_of(), "podman", emit=lambda _: None)
    assert caught.value.hint
    assert "--output" in caught.value.hint


def test_an_engine_that_refuses_is_quoted() -> None:
    def write(to: archive.Sink) -> None:
        to.write(b"x" * 5_000_000)

    with pytest.raises(load.LoadFailed, match="ended with code 3: no room") as caught:
        load.pour(["sh", "-c", "echo no room >&2; exit 3"], write)
    assert caught.value.exit_code == 5


def test_a_layout_holds_the_whole_image_with_a_tag(tmp_path: Path) -> None:
    image = image_of(part("model", "src/model.onnx"), platforms=(AMD64, Platform("linux", "arm64")))
    for _ in range(2):
        output.write(image, tmp_path / "layout", emit=lambda _: None)
    layout = Layout(tmp_path / "layout")
    tagged = layout.tag("1.0.0")
    assert tagged
    assert tagged.digest == image.digest
    for each in image.platforms:
        assert all(layout.blobs.has(part.blob.descriptor.digest) for part in each.parts)


def test_an_archive_of_two_platforms_is_refused_with_the_way_to_one(tmp_path: Path) -> None:
    image = image_of(platforms=(AMD64, Platform("linux", "arm64")))
    with pytest.raises(ConfigError, match="one platform") as caught:
        output.write(image, tmp_path / "image.tar", emit=lambda _: None)
    assert "--platform linux/amd64" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write"):
        output.write(image_of(), tmp_path / "missing/image.tar", emit=lambda _: None)
