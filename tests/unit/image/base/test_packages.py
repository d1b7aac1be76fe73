"""Reading Debian packages and merging them into one tree, hostile ones too."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deb_place import deb, member
from modeldeploy.errors import BundleError
from modeldeploy.image.base import system
from modeldeploy.image.base.deb import unpack
from modeldeploy.image.base.tree import Tree, place
from needs import need

DIR, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with (tmp_path / "heap").open("x+b") as heap:
        yield Tree(heap)


def written(tree: Tree) -> bytes:
    stream = io.BytesIO()
    tree.write(stream)
    return stream.getvalue()


def listed(tree: Tree) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(written(tree))) as archive:
        return {info.name: info for info in archive}


@pytest.mark.parametrize("compressed", ["", ".gz", ".xz"])
def test_a_package_becomes_files_of_root_that_everybody_may_read(
    tmp_path: Path, tree: Tree, compressed: str
) -> None:
    package = deb(
        tmp_path / "a.deb",
        [
            member("./", DIR),
            member("./usr/bin/hello", content=b"#!", mode=0o4700, uid=7, mtime=99),
            member("./usr/share/x", content=b"x", mode=0o600),
            member("./usr/bin/hi", LINK, linkname="hello"),
            member("./usr/bin/same", HARD, linkname="./usr/bin/hello"),
        ],
        compressed=compressed,
        scripts=["postinst"],
    )
    control = unpack(package, "hello", tree)
    found = listed(tree)
    assert control.scripts == ("postinst",) and "Package: hello" in control.text
    assert {name: oct(info.mode) for name, info in found.items()} == {
        "usr": "0o755",
        "usr/bin": "0o755",
        "usr/bin/hello": "0o755",
        "usr/bin/hi": "0o777",
        "usr/bin/same": "0o755",
        "usr/share": "0o755",
        "usr/share/x": "0o644",
    }
    assert {(info.uid, info.gid, info.uname, info.mtime) for info in found.values()} == {
        (0, 0, "", 315532800)
    }
    assert tree.read("/usr/bin/hi") == b"#!"


def test_a_package_may_bring_the_links_of_the_root_itself(tmp_path: Path, tree: Tree) -> None:
    links = [member(f"./{name}", LINK, linkname=f"usr/{name}") for name in ("bin", "lib64")]
    unpack(deb(tmp_path / "a.deb", [member("./usr/bin/x", content=b"x"), *links]), "base-files", tree)
    system.complete(tree)
    assert listed(tree)["bin"].linkname == "usr/bin" and tree.read("/bin/x") == b"x"


def test_folders_of_the_root_are_merged_into_usr(tmp_path: Path, tree: Tree) -> None:
    package = deb(
        tmp_path / "a.deb",
        [
            member("./lib/x86_64-linux-gnu/libc.so.6", content=b"c"),
            member("./lib64/ld.so", LINK, linkname="/lib/x86_64-linux-gnu/libc.so.6"),
        ],
    )
    unpack(package, "libc6", tree)
    system.complete(tree)
    found = listed(tree)
    assert found["lib"].linkname == "usr/lib" and found["lib64"].linkname == "usr/lib64"
    assert not any(name.startswith("lib/") for name in found)
    assert tree.read("/lib64/ld.so") == b"c", "links are followed through merged folders"


@pytest.mark.parametrize("name", ["/etc/passwd", "../etc/passwd", "./a/../../b", "a//b", "a/\0b", "a/\udcff"])
def test_a_path_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="leads out of the image, or is none"):
        place(name, "evil 1.0")


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([member("./a", LINK, linkname="/etc"), member("./a/passwd", content=b"x")], "both have 'a'"),
        ([member("./a", content=b"x"), member("./a/b", content=b"x")], "both have 'a'"),
        ([member("./a", content=b"x"), member("./a", content=b"y")], "both have 'a'"),
        ([member("./a", LINK, linkname="b"), member("./a", DIR)], "both have 'a'"),
        ([member("./a", HARD, linkname="./etc/shadow")], "no file of the package"),
        ([member("./../../a", HARD, linkname="./b")], "no file of the package|leads out"),
        ([member("./dev/sda", tarfile.BLKTYPE)], "a device, a pipe or a socket"),
        ([member("./p", tarfile.FIFOTYPE)], "a device, a pipe or a socket"),
        ([member("/a", content=b"x")], "leads out of the image"),
        ([member("./", content=b"x")], "both have ''"),
    ],
)
def test_hostile_packages_are_refused(
    tmp_path: Path, tree: Tree, entries: list[tuple[tarfile.TarInfo, bytes]], why: str
) -> None:
    with pytest.raises(BundleError, match=why):
        unpack(deb(tmp_path / "evil.deb", entries), "evil 1.0", tree)


def test_what_two_packages_both_have_is_fine_if_it_is_the_same(tmp_path: Path, tree: Tree) -> None:
    for number in range(2):
        unpack(deb(tmp_path / f"{number}.deb", [member("./a", content=b"x")]), f"p{number}", tree)
    with pytest.raises(BundleError, match="p0 and p2 both have 'a'"):
        unpack(deb(tmp_path / "2.deb", [member("./a", content=b"y")]), "p2", tree)


@pytest.mark.parametrize("cut", [3, 20, 70, 200, -40])
def test_a_package_that_is_cut_off_is_refused(tmp_path: Path, tree: Tree, cut: int) -> None:
    whole = deb(tmp_path / "a.deb", [member("./a", content=os.urandom(400))]).read_bytes()
    (tmp_path / "cut.deb").write_bytes(whole[:cut])
    with pytest.raises(BundleError, match="is damaged"):
        unpack(tmp_path / "cut.deb", "hello", tree)


def test_a_package_without_control_or_of_another_compression_is_refused(tmp_path: Path, tree: Tree) -> None:
    with pytest.raises(BundleError, match="no control file"):
        unpack(deb(tmp_path / "a.deb", control=False), "hello", tree)
    with pytest.raises(BundleError, match=r"compressed as \.zst"):
        unpack(deb(tmp_path / "b.deb", compressed=".zst"), "hello", tree)


def test_the_order_of_packages_does_not_show(tmp_path: Path) -> None:
    packages = [deb(tmp_path / f"{name}.deb", [member(f"./{name}", content=b"x")]) for name in "abc"]
    outcomes = set()
    for order in (packages, packages[::-1]):
        with (tmp_path / "heap").open("w+b") as heap:
            tree = Tree(heap)
            for package in order:
                unpack(package, package.stem, tree)
            outcomes.add(written(tree))
    assert len(outcomes) == 1


def test_links_in_a_circle_end(tree: Tree) -> None:
    tree.link("a", "b", "x")
    tree.link("b", "a", "x")
    with pytest.raises(BundleError, match="has no file 'a'"):
        tree.read("a")


def test_docs_go_and_licences_stay(tree: Tree) -> None:
    for path in (
        "usr/share/doc/p/copyright",
        "usr/share/doc/p/NEWS.gz",
        "usr/share/man/man1/p.1",
        "usr/share/docs",
    ):
        tree.file(path, b"x", "p")
    system.complete(tree)
    assert tree.paths("usr/share/") == [
        "usr/share/doc",
        "usr/share/doc/p",
        "usr/share/doc/p/copyright",
        "usr/share/docs",
    ]


def test_certificates_become_one_file(tree: Tree) -> None:
    for name, content in (("b", b"B\n"), ("a", b"A")):
        tree.file(f"usr/share/ca-certificates/mozilla/{name}.crt", content, "ca-certificates")
    system.complete(tree)
    assert tree.read("/usr/lib/ssl/cert.pem") == b"A\nB\n"


def test_names_that_ustar_cannot_hold_are_read_by_tar(tmp_path: Path, tree: Tree) -> None:
    need(shutil.which("tar"), "tar")
    names = [f"usr/{'long' * 60}", "usr/Főtanúsítvány.crt"]
    for name in names:
        tree.file(name, b"x", "p")
    tree.link("usr/link", "t" * 200, "p")
    (tmp_path / "a.tar").write_bytes(written(tree))
    done = subprocess.run(
        ["tar", "-tf", str(tmp_path / "a.tar"), "--quoting-style=literal"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert set(names) < set(done.stdout.splitlines())


def test_a_bomb_is_refused(tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeldeploy.image.base.deb.LARGEST", 10_000)
    package = deb(tmp_path / "a.deb", [member(f"./{number}", content=bytes(3000)) for number in range(4)])
    with pytest.raises(BundleError, match="a bomb"):
        unpack(package, "boom 1.0", tree)
