"""The base that mdeploy makes of Debian packages: the same anywhere, and there when its parts are gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modeldeploy.errors import BundleError
from modeldeploy.files import DiskFull
from modeldeploy.image.base import debian, lockfile, mirrors
from modeldeploy.image.base.choose import Chooser, Chosen, Held, Wish
from modeldeploy.image.base.connecting import anywhere, held_in
from modeldeploy.image.cache import ImageCache
from modeldeploy.oci.descriptor import Platform
from modeldeploy.registry.folder import FolderRegistry
from mounts import small_disk
from needs import lack, need
from story_project import share

pytestmark = pytest.mark.story

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "amd64")
HERE = Platform("linux", MACHINE)
OTHER = Platform("linux", "arm64" if MACHINE == "amd64" else "amd64")
NOBODY = 65534
GONE = "file:/nowhere"

CHILD = """
import json, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import zlib_ng.zlib_ng
from modeldeploy.image.base import lockfile
from modeldeploy.image.base.choose import Chooser, Wish
from modeldeploy.image.base.connecting import anywhere
from modeldeploy.image.cache import ImageCache
from modeldeploy.oci.descriptor import Platform
lockfile.Compressor.here()
with ThreadPoolExecutor(1) as pool:
    pool.submit(int).result()
user, folder = int(sys.argv[1]), Path(sys.argv[2])
os.setgroups([])
os.setgid(user)  # only now: others may not read the folder that this Python is in
os.setuid(user)
platforms = [Platform("linux", name) for name in sys.argv[3:]]
chosen = Chooser(ImageCache(), lambda _: None, anywhere()).choose(
    Wish(folder, "debian", "3.11"), platforms, lockfile.read(folder)
)
print(json.dumps([[base.digest, base.layers[0].descriptor.digest] for base in chosen.bases]))
"""


@pytest.fixture(autouse=True)
def debian_is_here(home: Path, shared: Path) -> None:
    """A mirror, and packages that an earlier test has fetched from it."""
    (shared / "cache").mkdir(parents=True, exist_ok=True)
    share(home, shared)
    try:
        mirrors.find()
    except BundleError as error:
        lack(f"apt-get and a mirror of Debian ({error})")


def chosen(
    folder: Path, *platforms: Platform, base: str = "debian", held: Held = lambda _: None, **wish: Any
) -> Chosen:
    """The bases, and the lock kept."""
    chooser = Chooser(ImageCache(), lambda _: None, anywhere(), held)
    wanted = Wish(folder, base, wish.pop("python", "3.11"), **wish)
    found = chooser.choose(wanted, platforms or [HERE], lockfile.read(folder))
    lockfile.write(folder, found.lock)
    return found


def in_a_child(folder: Path, home: Path, *, mask: int, user: int, env: Mapping[str, str]) -> Any:
    """The digests that another process gets: of another user, with another umask and environment."""
    home.mkdir(mode=0o700)
    os.chown(home, user, user)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(user), str(folder), HERE.architecture, OTHER.architecture],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "MDEPLOY_HOME": str(home / "m"), **env},
        cwd=home,
        umask=mask,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_the_same_lock_gives_the_same_layers_to_anybody(tmp_path: Path) -> None:
    need(os.geteuid() == 0, "root, to be somebody else")
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    found = chosen(tmp_path, HERE, OTHER)
    expected = [[base.digest, base.layers[0].descriptor.digest] for base in found.bases]
    strange = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7", "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    assert in_a_child(tmp_path, tmp_path / "hôme", mask=0o077, user=NOBODY, env=strange) == expected


def test_the_other_release_of_debian_has_the_other_python(tmp_path: Path) -> None:
    base = chosen(tmp_path, OTHER, python="3.13").bases[0]
    assert base.source == "debian:trixie" and base.python == "/usr/bin/python3.13"
    with pytest.raises(
        BundleError, match=r"for Python 3\.12, .* there are 3\.11 \(bookworm\), 3\.13 \(trixie\)"
    ):
        chosen(tmp_path, python="3.12")
    with pytest.raises(BundleError, match=r"which Debian trixie does not have"):
        chosen(tmp_path, base="debian:trixie")


def test_a_base_is_small_tells_its_packages_and_takes_further_ones(tmp_path: Path) -> None:
    found = chosen(tmp_path, packages=("libsndfile1",))
    base = found.bases[0]
    assert base.layers[0].descriptor.size < 30_000_000
    assert base.python == "/usr/bin/python3.11" and base.python_version == found.lock.compiler
    purls = {package.name: package.purl for package in base.packages}
    assert purls["libc6"].startswith("pkg:deb/debian/libc6@2.") and "upstream=glibc" in purls["libc6"]
    assert {"ca-certificates", "libstdc++6", "libgomp1", "libsndfile1", "libflac12"} < set(purls)
    assert not {"perl-base", "dpkg", "debconf", "openssl", "bash"} & set(purls)
    text = (tmp_path / lockfile.FILENAME).read_text()
    assert "http" not in text and str(tmp_path) not in text
    with pytest.raises(BundleError, match="Unable to locate package no-such-package") as caught:
        chosen(tmp_path, packages=("no-such-package",))
    assert "[image] packages" in str(caught.value.hint)


def test_when_the_mirror_has_dropped_the_packages_the_registry_has_the_layer(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = chosen(tmp_path)
    repository = FolderRegistry(tmp_path / "registry").repository("digits")
    repository.push_blob(first.bases[0].layers[0], moved=lambda _: None)
    shutil.rmtree(home)
    monkeypatch.setenv(mirrors.VARIABLE, GONE)
    with pytest.raises(BundleError, match="the mirror has dropped versions") as caught:
        chosen(tmp_path)
    assert "mdeploy image --upgrade" in str(caught.value.hint)
    again = chosen(tmp_path, held=held_in(repository))
    assert again.lock == first.lock and again.bases[0].digest == first.bases[0].digest
    with again.bases[0].layers[0].open(1) as stream:
        assert stream.read(1) == b"\x8b", "the second byte of any gzip file"


def test_what_somebody_changed_is_found_out(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = chosen(tmp_path)
    locked = found.lock.platforms[str(HERE)]
    assert isinstance(locked, lockfile.DebianBase)
    shutil.rmtree(home / "images")

    package = next(each for each in locked.packages if each.name == "media-types")
    path = home / "cache" / "debs" / f"{package.sha256}.deb"
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(whole[:-1] + b"!")
    with pytest.raises(BundleError, match=r"media-types .* is not what the lock says") as caught:
        chosen(tmp_path)
    assert str(path) in str(caught.value.hint)
    path.write_bytes(whole)

    text = (tmp_path / lockfile.FILENAME).read_text()
    value = json.loads(text)
    value["platforms"][str(HERE)]["packages"].pop()
    (tmp_path / lockfile.FILENAME).write_text(json.dumps(value))
    with pytest.raises(BundleError, match="the lock was edited, or mdeploy has a bug"):
        chosen(tmp_path)

    (tmp_path / lockfile.FILENAME).write_text(text)
    with monkeypatch.context() as newer:
        newer.setattr(debian, "BUILDER", 2)
        with pytest.raises(BundleError, match="locked for builder 1 of bases, and this mdeploy has 2"):
            chosen(tmp_path)


def test_without_apt_get_the_alternatives_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BundleError, match="needs apt-get, which this machine does not have") as caught:
        chosen(tmp_path)
    assert "oci:FOLDER" in str(caught.value.hint)
    assert "host/repository@sha256" in str(caught.value.hint)


@pytest.mark.parametrize("size", ["6m", "40m"])
def test_a_full_disk_is_told_and_leaves_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """6 MB are too few for the packages, 40 MB for what is in them."""
    lock = chosen(tmp_path).lock
    with small_disk(tmp_path / "disk", size) as disk:
        monkeypatch.setenv("MDEPLOY_HOME", str(disk / "home"))
        with pytest.raises(DiskFull, match="no space left"):
            chosen(tmp_path)
        assert not list((disk / "home").rglob("*.tar*"))
    assert lockfile.read(tmp_path) == lock
