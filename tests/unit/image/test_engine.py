from __future__ import annotations

import gzip
import tarfile
from pathlib import Path
from typing import Any

import pytest

from image_place import AMD64, base_for, image_of, manifest, part
from modeldeploy.config.settings import ImageSettings
from modeldeploy.errors import BundleError, ConfigError
from modeldeploy.image import engine, output
from modeldeploy.image.assemble import labels_of
from modeldeploy.image.build import Source
from modeldeploy.image.cache import ImageCache
from modeldeploy.image.engine import Context
from modeldeploy.image.foundation import Ground
from modeldeploy.image.imported import take_over
from modeldeploy.oci.manifest import LAYER_TAR, Manifest
from modeldeploy.registry.base import Repository

DIGEST = f"sha256:{'0' * 64}"


def nowhere(host: str, name: str) -> tuple[Repository, tuple[str, ...]]:
    raise AssertionError(f"asked for {host}/{name}")


def ground(root: Path, **settings: Any) -> Ground:
    return Ground(root, ImageSettings(**{"engine": "docker", **settings}), nowhere)


def dockerfile(tmp_path: Path, cache: ImageCache, **settings: Any) -> list[str]:
    bundle = manifest(version="1.0.0")
    folder = tmp_path / "context"
    folder.mkdir()
    source = Source(bundle.ref(), tmp_path, bundle)
    parts = (part("pure", "opt/x"), part("code", "code"))
    Context(ground(tmp_path, **settings), source, base_for(), parts).write(folder, cache)
    lines = (folder / "Dockerfile").read_text().splitlines()
    named = {word for line in lines if line.startswith("ADD") for word in line.split('"') if "tar" in word}
    assert named == {path.name for path in folder.iterdir()} - {"Dockerfile"}
    return lines


def test_on_our_own_base_the_steps_stand_between_base_and_packages(tmp_path: Path, cache: ImageCache) -> None:
    lines = dockerfile(tmp_path, cache, run=("ldconfig",))
    assert lines[:5] == [
        "FROM scratch",
        'ADD ["base-0.tar", "/"]',
        'ENV PATH="/usr/bin"',
        'ENV LANG="C.UTF-8"',
        "RUN ldconfig",
    ]
    assert lines[5:7] == ['ADD ["layer-0.tar", "/"]', 'ADD ["layer-1.tar", "/"]']
    assert lines[-1].startswith('ENTRYPOINT ["/usr/bin/python3.11", "-m", "mdeploy_serving.worker"')
    assert "USER 65532:65532" in lines


def test_on_another_base_packages_are_installed_by_it(tmp_path: Path, cache: ImageCache) -> None:
    base = f"registry.example/python@{DIGEST}"
    lines = dockerfile(tmp_path, cache, base=base, packages=("libsndfile1",))
    assert lines[:2] == [f"FROM {base}", "USER 0"]
    assert "apt-get install -y --no-install-recommends libsndfile1 &&" in lines[2]


def test_nothing_in_a_value_is_expanded(tmp_path: Path, cache: ImageCache) -> None:
    assert engine._quoted('a "b" $HOME') == '"a \\"b\\" \\$HOME"'
    assert dockerfile(tmp_path, cache)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"platforms": ("linux/amd64", "linux/arm64")}, "builds for one platform"),
        ({"base": "oci:/somewhere"}, "cannot build on a layout"),
    ],
)
def test_what_an_engine_cannot_do_is_refused_first(
    tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    bundle = manifest()
    with pytest.raises(ConfigError, match=told) as caught:
        engine.build(
            Source(bundle.ref(), tmp_path, bundle), ground(tmp_path, **settings), emit=lambda _: None
        )
    assert caught.value.hint


def test_commands_without_a_shell_are_refused(tmp_path: Path) -> None:
    bundle = manifest()
    source = Source(bundle.ref(), tmp_path, bundle)
    with pytest.raises(ConfigError, match="no shell"):
        engine._insist_on_shell(Context(ground(tmp_path, run=("true",)), source, base_for(), ()))
    engine._insist_on_shell(Context(ground(tmp_path), source, base_for(), ()))


def test_an_image_from_an_engine_is_taken_over_with_its_model_as_it_is(
    tmp_path: Path, cache: ImageCache
) -> None:
    ours = (part("model", "src/model.onnx", b"w" * 9000), part("code", "code", b"c" * 9000))
    image = image_of(*ours)
    output.write(image, tmp_path / "saved.tar", emit=lambda _: None)
    labels = labels_of(manifest(), base_for())
    taken = take_over(tmp_path / "saved.tar", base_for(), ours, labels, cache)
    assert [each.kind for each in taken.parts] == ["engine", "model", "code"]
    assert [each.diff_id for each in taken.parts] == [each.diff_id for each in image.platforms[0].parts]
    assert taken.parts[1].blob.descriptor.media_type == LAYER_TAR
    assert taken.platform == AMD64
    with taken.parts[2].blob.open(0) as stream, ours[1].blob.open(0) as plain:
        assert gzip.decompress(stream.read()) == plain.read()
    assert Manifest.from_bytes(taken.manifest).annotations == labels
    again = take_over(tmp_path / "saved.tar", base_for(), ours, labels, cache)
    assert again.manifest == taken.manifest


def test_a_saved_layer_that_is_another_than_the_configuration_says_is_refused(
    tmp_path: Path, cache: ImageCache
) -> None:
    image = image_of(part("code", "code", b"c" * 9000))
    saved = tmp_path / "saved.tar"
    output.write(image, saved, emit=lambda _: None)
    saved.write_bytes(saved.read_bytes().replace(b"c" * 9000, b"d" * 9000))
    with pytest.raises(BundleError, match="another digest"):
        take_over(saved, base_for(), image.platforms[0].parts[1:], {}, cache)


def test_a_file_without_an_image_is_refused(tmp_path: Path, cache: ImageCache) -> None:
    with tarfile.open(tmp_path / "saved.tar", "w"):
        pass
    with pytest.raises(BundleError, match="no image"):
        take_over(tmp_path / "saved.tar", base_for(), (), {}, cache)
