"""The lock: resolved once, kept while its inputs stay, free of indexes and secrets. Uses the real uv."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bundle_place import Workshop, recipe_for, write_model
from modeldeploy.bundle import environment, frameworks, lock, uvtool
from modeldeploy.bundle.lock import FILENAME
from modeldeploy.errors import BundleError
from needs import need

SMALL = ("six==1.16.0",)


@pytest.fixture(autouse=True)
def only_the_projects_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    """What serving needs is left out here: resolving it takes seconds, and is done in test_build."""
    monkeypatch.setattr(lock, "SERVING", ())
    monkeypatch.setattr(frameworks, "PACKAGES", {})


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")


def test_a_lock_pins_by_version_and_hash_and_names_no_index(tmp_path: Path) -> None:
    made = lock.resolve(recipe_for(tmp_path, requirements=SMALL))
    text = (tmp_path / FILENAME).read_text()
    assert text.startswith("# Made by mdeploy; commit it, do not edit it. Resolved from sha256:")
    assert "six==1.16.0" in text
    assert "--hash=sha256:" in text
    assert "://" not in text
    assert made.count == 1
    assert lock.present(recipe_for(tmp_path, requirements=SMALL)) == made


def test_a_present_lock_needs_no_network_and_other_requirements_make_it_stale(
    tmp_path: Path, no_network: None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("UV_DEFAULT_INDEX", "UV_CACHE_DIR"):
            patch.delenv(name)
        made = lock.resolve(recipe_for(tmp_path, requirements=SMALL))
    assert lock.present(recipe_for(tmp_path, requirements=SMALL)) == made
    assert lock.present(recipe_for(tmp_path, requirements=("six==1.17.0",))) is None
    assert lock.present(recipe_for(tmp_path, requirements=SMALL, python="3.99")) is None
    with pytest.raises(BundleError, match="the package index did not answer") as caught:
        lock.resolve(recipe_for(tmp_path, requirements=("six==1.17.0",)))
    assert "network" in (caught.value.hint or "")
    assert "six==1.16.0" in (tmp_path / FILENAME).read_text()


def test_versions_stay_when_the_lock_is_made_anew_unless_upgraded(tmp_path: Path) -> None:
    lock.resolve(recipe_for(tmp_path, requirements=("six<1.17",)))
    kept = lock.resolve(recipe_for(tmp_path, requirements=("six",)))
    assert "six==1.16.0" in kept.text
    newer = lock.resolve(recipe_for(tmp_path, requirements=("six",)), upgrade=True)
    assert "six==1.16.0" not in newer.text


@pytest.mark.parametrize(
    ("requirements", "said"),
    [
        (("mdeploy-no-such-package-x",), "mdeploy-no-such-package-x was not found"),
        (("six>=99",), "six>=99"),
        (("six==1.16.0", "six==1.15.0"), "six==1.15.0"),
        (("six ==== 3",), "====|comparison operator"),
    ],
)
def test_requirements_that_cannot_be_met_are_explained_by_uv(
    requirements: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=rf"locking the requirements failed: .*({said})"):
        lock.resolve(recipe_for(tmp_path, requirements=requirements))
    assert not (tmp_path / FILENAME).exists()


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        ("--index-url https://index.example/simple", "is an option"),
        ("-r other.txt", "is an option"),
        ("", "is an option"),
        ("six\n--extra-index-url http://x", "is an option"),
        ("mine @ file:///home/me/mine.whl", "other machines cannot fetch"),
        ("mine @ git+https://host.example/x.git", "other machines cannot fetch"),
        ("mine @ https://me:hunter2@host.example/mine.whl", "holds a password"),
    ],
)
def test_requirements_that_would_not_work_elsewhere_are_refused(
    requirement: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=said) as caught:
        lock.resolve(recipe_for(tmp_path, requirements=(requirement,)))
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    "line", ["--index-url https://x.example", "six", "    --hash=md5:00", "-e .", "mine @ file:///x.whl"]
)
def test_a_lock_that_was_edited_is_refused(line: str, tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, requirements=SMALL)
    lock.resolve(recipe)
    path = tmp_path / FILENAME
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(BundleError, match="neither a pinned package nor a hash") as caught:
        lock.present(recipe)
    assert "--upgrade" in (caught.value.hint or "")


def test_somebody_elses_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILENAME).write_text("mine\n")
    with pytest.raises(BundleError, match="its first line is not mdeploy's"):
        lock.present(recipe_for(tmp_path))
    (tmp_path / FILENAME).write_bytes(b"\xff\xfe")
    with pytest.raises(BundleError, match="cannot read"):
        lock.present(recipe_for(tmp_path))


def test_the_order_of_requirements_does_not_matter(tmp_path: Path) -> None:
    made = lock.resolve(recipe_for(tmp_path, requirements=("six==1.16.0", "idna==3.10")))
    assert lock.present(recipe_for(tmp_path, requirements=("idna==3.10", "six==1.16.0"))) == made


def test_a_folder_that_cannot_be_written_to_is_told(workshop: Workshop, tmp_path: Path) -> None:
    need(os.geteuid() == 0, "root, who can become another user")
    recipe = recipe_for(tmp_path / "project", requirements=SMALL)
    write_model(recipe.model)
    text = lock._compiled(recipe, None)
    for folder in (recipe.root, *recipe.root.parents[:3]):
        folder.chmod(0o755)
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.setuid(65534)
        lock._compiled = lambda *_: text
        try:
            lock.resolve(recipe)
        except BundleError as error:
            os.write(writer, f"{error.message} | {error.hint}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    told = os.read(reader, 4000).decode()
    assert "cannot write" in told
    assert "Permission denied" in told
    assert "bring modeldeploy.lock back" in told


def test_uv_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(BundleError, match="uv is missing"):
        uvtool.binary()


BOTH = ("linux/amd64", "linux/arm64")


def test_a_lock_tells_the_exact_python_and_its_platforms(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, requirements=SMALL, platforms=BOTH)
    made = lock.resolve(recipe)
    assert made.python == platform.python_version()
    assert made.platforms == BOTH
    head = (tmp_path / FILENAME).read_text().splitlines()[0]
    assert head.endswith(f" on Python {platform.python_version()} for linux/amd64, linux/arm64")
    assert lock.present(recipe) == made
    assert lock.present(replace(recipe, platforms=())) is None


def test_the_exact_python_of_a_lock_stays_when_another_machine_resolves_it_again(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, requirements=SMALL)
    lock.resolve(recipe)
    path = tmp_path / FILENAME
    other = f"{recipe.python}.99"
    path.write_text(path.read_text().replace(f"Python {platform.python_version()}", f"Python {other}"))
    more = replace(recipe, requirements=(*SMALL, "idna==3.10"))
    assert lock.resolve(more).python == other
    assert lock.resolve(more, upgrade=True).python == platform.python_version()


def test_a_lock_of_an_older_version_is_made_anew(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, requirements=SMALL)
    made = lock.resolve(recipe)
    (tmp_path / FILENAME).write_text(f"{lock._HEADER} sha256:{'0' * 64}\n{made.text}")
    assert lock.present(recipe) is None
    assert lock.latest(recipe) == lock.Lock(made.text)
    assert lock.resolve(recipe).text == made.text


def test_a_python_that_is_not_on_this_machine_has_an_exact_version_all_the_same() -> None:
    assert environment.exact_version("3.14").startswith("3.14.")
    assert environment.exact_version("3.99") == "3.99"


def test_packages_without_wheels_are_told_with_their_platform_and_what_to_do(tmp_path: Path) -> None:
    requirements = ("docopt==0.6.2", "intel-openmp==2024.2.1", "six==1.16.0")
    recipe = recipe_for(tmp_path, requirements=requirements, platforms=BOTH)
    with pytest.raises(BundleError, match="there is no wheel of docopt for linux/amd64; ") as caught:
        lock.resolve(recipe)
    assert caught.value.details["missing"] == {
        "linux/amd64": ["docopt"],
        "linux/arm64": ["docopt", "intel-openmp"],
    }
    assert (caught.value.hint or "").endswith("[build] platforms = []")
    assert not (tmp_path / FILENAME).exists()
    with pytest.raises(BundleError, match="no wheel of intel-openmp for linux/arm64") as caught:
        lock.resolve(replace(recipe, requirements=requirements[1:]))
    assert (caught.value.hint or "").endswith('[build] platforms = ["linux/amd64"]')
    assert lock.resolve(replace(recipe, platforms=())).count == 3


def test_pins_are_read_with_their_markers_and_hashes() -> None:
    first, second = "0" * 64, "1" * 64
    text = (
        f"Six==1.16.0 \\\n    --hash=sha256:{first} \\\n    --hash=sha256:{second}\n"
        f"uvloop[dev]==0.19 ; sys_platform != 'win32' \\\n    --hash=sha256:{first}\n"
        f"mine @ https://host.example/mine.whl \\\n    --hash=sha256:{first}\n"
    )
    six, uvloop, mine = lock.pins(text)
    assert (six.name, six.version, six.marker, len(six.hashes)) == ("six", "1.16.0", "", 2)
    assert (uvloop.name, uvloop.version, uvloop.marker) == ("uvloop[dev]", "0.19", "sys_platform != 'win32'")
    assert (mine.name, mine.version) == ("mine", "https://host.example/mine.whl")
    assert lock.Lock(text).version("six") == "1.16.0"
