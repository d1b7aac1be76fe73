"""The image of a bundle, made without a daemon, answers its golden samples wherever images run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine_place import Unpacked, call, docker, podman, unpacked
from modeldeploy.bundle import golden
from modeldeploy.errors import BundleError
from modeldeploy.events import Event
from modeldeploy.image.base import mirrors
from modeldeploy.ops.imaging import ImageBuilt, image
from needs import lack
from story_project import share, sharing_images, story

pytestmark = pytest.mark.story

PLATFORMS = ("linux/amd64", "linux/arm64")


@dataclass(frozen=True)
class Made:
    """A project, its bundle, and the image in a layout folder."""

    project: Path
    home: Path
    bundle: Path
    layout: Path
    image: ImageBuilt


@pytest.fixture(scope="module")
def made(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The digits example, built once, and its image for both platforms."""
    try:
        mirrors.find()
    except BundleError as error:
        lack(f"apt-get and a mirror of Debian ({error})")
    folder = tmp_path_factory.mktemp("image runs")
    share(folder / "home", shared)
    with (
        story(folder / "my project", folder / "home", shared) as user,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setenv("MDEPLOY_HOME", str(user.home))
        user.init()
        built = user.build()
        told: list[Event] = []
        layout = folder / "layout"
        with sharing_images(user):
            result = image(user.folder, platforms=PLATFORMS, output=layout, emit=told.append)
        user.keep_lock()
        yield Made(user.folder, user.home, Path(built["path"]), layout, result)


@pytest.fixture
def here(made: Made, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setenv("MDEPLOY_HOME", str(made.home))
    return made


def insist_on_golden(url: str, made: Made) -> None:
    """All recorded samples, sent over HTTP, are answered as recorded."""
    report = golden.verify(call(url), made.bundle)
    assert report.passed and report.total > 10, report.failures


def without_engine(made: Made, folder: Path, architecture: str) -> Unpacked:
    return unpacked(made.layout, folder / "root", architecture=architecture)


def test_a_docker_engine_runs_it_read_only_without_rights(
    here: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with docker(tmp_path / "docker") as engine:
        for name, value in {**engine.env, "PATH": f"/usr/bin:{os.environ['PATH']}"}.items():
            monkeypatch.setenv(name, value)
        told: list[Event] = []
        loaded = image(here.project, load="docker", emit=told.append).loaded
        assert loaded and loaded.engine == "docker"
        with engine.serving(loaded.reference) as url:
            insist_on_golden(url, here)


def test_podman_runs_it_and_reads_the_same_from_the_layout_folder(
    here: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with podman(tmp_path / "podman") as engine:
        for name, value in engine.env.items():
            monkeypatch.setenv(name, value)
        told: list[Event] = []
        loaded = image(here.project, load="podman", emit=told.append).loaded
        assert loaded and loaded.engine == "podman"
        with engine.serving(loaded.reference) as url:
            insist_on_golden(url, here)
        # podman makes the image's name of the path, in which it takes no blanks.
        engine.type("pull", "--quiet", f"oci:{here.layout.name}", cwd=here.layout.parent)
        names = (loaded.reference, f"localhost/{here.layout.name}")
        one, other = (engine.type("image", "inspect", "--format", "{{.Id}}", name) for name in names)
        assert one == other


def test_it_runs_without_any_engine(here: Made, tmp_path: Path) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    with without_engine(here, tmp_path, machine).serving() as url:
        insist_on_golden(url, here)


def test_the_image_for_the_other_architecture_answers_too(here: Made, tmp_path: Path) -> None:
    other = {"x86_64": "arm64", "aarch64": "amd64"}[os.uname().machine]
    root = without_engine(here, tmp_path, other)
    machine = root.type(root.config["Entrypoint"][0], "-c", "import platform; print(platform.machine())")
    assert machine.strip() == {"arm64": "aarch64", "amd64": "x86_64"}[other]
    with root.serving() as url:
        insist_on_golden(url, here)
