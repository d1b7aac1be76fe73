"""A user makes an image of a bundle, anywhere, without a daemon, and runs it in whatever there is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import engine_place
from modeldeploy.bundle.golden import verify
from modeldeploy.bundle.store import BundleStore
from modeldeploy.ops.imaging import ImageBuilt, image
from needs import need
from story_project import Story, sharing_images

pytestmark = pytest.mark.story

BOTH = ("linux/amd64", "linux/arm64")
HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "amd64")
BUILDER = """
import json, sys
from pathlib import Path
from modeldeploy.image import build as building, wheels
from modeldeploy.ops import imaging
root, platforms, pip = Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
if pip:
    make = building.package_layers
    def package_layers(*what, installer, **how):
        return make(*what, installer=wheels.by_pip(Path(pip)), **how)
    building.package_layers = package_layers
made = imaging.image(root, platforms=platforms, emit=lambda event: None)
print(json.dumps({each.platform: each.digest for each in made.platforms}))
"""


@dataclass
class Maker:
    """Makes images in one home, whose caches all tests here share."""

    user: Story

    def image(self, **options: Any) -> ImageBuilt:
        return image(self.user.folder, emit=lambda _: None, **options)


@pytest.fixture
def maker(user: Story) -> Maker:
    """A user with a project, who has its base and its packages already."""
    need(shutil.which("apt-get") and shutil.which("dpkg-deb"), "apt-get and dpkg-deb")
    user.init()
    made = Maker(user)
    with sharing_images(user):
        made.image(platforms=(f"linux/{HERE}",))
    user.keep_lock()
    return made


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[engine_place.Engine]:
    with engine_place.docker(tmp_path / "docker") as engine:
        for name, value in engine.env.items():
            monkeypatch.setenv(name, value)
        # Debian's client, where there are several.
        monkeypatch.setenv("PATH", f"/usr/bin{os.pathsep}{os.environ['PATH']}")
        yield engine


def reproduces(url: str, built: ImageBuilt) -> None:
    report = verify(engine_place.call(url), BundleStore().path_of(built.bundle))
    assert report.passed, report.failures
    assert report.total > 0


def test_the_same_digest_in_another_place_home_zone_language_and_with_another_installer(
    maker: Maker, tmp_path: Path
) -> None:
    first = {each.platform: each.digest for each in maker.image(platforms=BOTH).platforms}
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    for number, (platforms, pip) in enumerate(
        ((",".join(BOTH), ""), (f"linux/{HERE}", str(tmp_path / "venv/bin/python")))
    ):
        folder = tmp_path / f"Kopie {number} ä"
        shutil.copytree(maker.user.folder, folder)
        other = {
            **os.environ,
            "MDEPLOY_HOME": str(tmp_path / f"home {number}"),
            "TZ": "Asia/Kathmandu",
            "LC_ALL": "C",
            "PYTHONHASHSEED": str(number + 7),
            "HOME": str(tmp_path),
            "UV_CACHE_DIR": str(tmp_path / "uv") if not number else os.environ.get("UV_CACHE_DIR", ""),
        }
        if not other["UV_CACHE_DIR"]:
            del other["UV_CACHE_DIR"]
        done = subprocess.run(
            [sys.executable, "-c", BUILDER, folder, platforms, pip],
            env=other,
            umask=0o077,
            check=False,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        made = json.loads(done.stdout)
        assert made == {platform: first[platform] for platform in made}
        assert len(made) == len(platforms.split(","))


def test_images_for_two_platforms_share_all_that_is_for_any(maker: Maker) -> None:
    amd64, arm64 = maker.image(platforms=BOTH).platforms
    shared = {layer.digest for layer in amd64.layers} & {layer.digest for layer in arm64.layers}
    kinds = {layer.kind for layer in amd64.layers if layer.digest in shared}
    assert {"pure", "model", "code"} <= kinds
    assert not kinds & {"base", "binary"}


def test_what_did_not_change_is_not_made_again(maker: Maker) -> None:
    first = maker.image()
    second = maker.image()
    assert second.digest == first.digest
    assert not any(layer.built for each in second.platforms for layer in each.layers)


def test_another_model_changes_the_layers_of_model_and_manifest(maker: Maker) -> None:
    before = {layer.name: layer.digest for layer in maker.image().platforms[0].layers}
    maker.user.second_model()
    maker.user.edit("version", '"1.1.0"')
    after = {layer.name: layer.digest for layer in maker.image().platforms[0].layers}
    assert before.keys() == after.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"src/model.onnx", "environment", "code", "more"}
    assert {"src/model.onnx", "code"} <= changed


def test_docker_gets_each_layer_once(maker: Maker, docker: engine_place.Engine) -> None:
    first = maker.image(load="docker").loaded
    assert first
    assert first.reference in docker.type("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    again = maker.image(load="docker").loaded
    assert again
    assert again.sent == 0
    maker.user.second_model()
    maker.user.edit("version", '"1.1.0"')
    changed = maker.image(load="docker").loaded
    assert changed
    assert 0 < changed.sent < 1_000_000 < first.sent


def test_an_engine_builds_the_same_bundle_with_steps_of_its_own(
    maker: Maker, docker: engine_place.Engine, home: Path
) -> None:
    file = maker.user.file
    file.write_text(
        f'{file.read_text()}\n[image]\nengine = "docker"\npackages = ["dash", "coreutils"]\n'
        'run = ["echo made > /etc/made"]\n'
    )
    built = maker.image()
    assert built.engine == "docker"
    names = [layer.name for layer in built.platforms[0].layers]
    assert names[-1] == "code"
    assert "src/model.onnx" in names
    with docker.serving(built.reference) as url:
        reproduces(url, built)
    told = docker.type("run", "--rm", "--entrypoint", "cat", built.reference, "/etc/made")
    assert told == "made\n"
    labels = json.loads(docker.type("inspect", "--format", "{{json .Config.Labels}}", built.reference))
    assert labels["dev.mdeploy.bundle.digest"] == built.bundle
