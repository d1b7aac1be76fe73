"""Archives from strangers: nothing leaves its folder, nothing is believed, nothing grows without bounds."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import stat
import tarfile
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeldeploy.oci import unpack
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.oci.manifest import DOCKER_LAYER, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, Malformed
from modeldeploy.oci.tar import Entry, layer_of
from modeldeploy.oci.unpack import Wanted
from modeldeploy.oci.untar import members

CODE, MODEL = b"answer = 42\n", random.Random(7).randbytes(3000)


def wanted(**content: bytes) -> dict[str, Wanted]:
    return {
        path.replace("__", "/"): Wanted(hashlib.sha256(data).hexdigest(), len(data))
        for path, data in content.items()
    }


WANTED = wanted(src__code=CODE, src__model=MODEL)


def member(name: str, content: bytes = b"", **facts: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, content


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=to)


def archive(*given_members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as tar:
        for info, content in given_members:
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def good() -> list[tuple[tarfile.TarInfo, bytes]]:
    return [member("bundle/src/code", CODE), member("bundle/src/model", MODEL)]


def strict(content: bytes, folder: Path, files: dict[str, Wanted] = WANTED) -> frozenset[str]:
    return unpack.files(io.BytesIO(content), Descriptor.of(content, LAYER_TAR), folder, files, below="bundle")


def rootfs(folder: Path, *layers: bytes, kind: str = LAYER_TAR, **limits: int) -> None:
    folder.mkdir(exist_ok=True)
    unpack.rootfs([(io.BytesIO(layer), Descriptor.of(layer, kind)) for layer in layers], folder, **limits)


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# -- bundles: only what the manifest lists ---------------------------------------------------------------


def test_a_good_archive_becomes_read_only_files(tmp_path: Path) -> None:
    assert strict(archive(*good()), tmp_path) == {"src/code", "src/model"}
    assert (tmp_path / "src/model").read_bytes() == MODEL
    assert stat.S_IMODE((tmp_path / "src/code").stat().st_mode) == 0o444


def test_what_mdeploy_writes_mdeploy_reads(tmp_path: Path) -> None:
    name = f"{'deep/' * 40}ö"
    layer = layer_of([Entry.folder("bundle"), Entry.file(f"bundle/{name}", MODEL, mode=0o555)], name="code")
    files = {name: replace(wanted(x=MODEL)["x"], executable=True)}
    with layer.open() as stream:
        found = unpack.files(stream, layer.descriptor(), tmp_path, files, below="bundle")
    assert found == {name}
    assert os.access(tmp_path / name, os.X_OK)


HOSTILE = {
    "an absolute name": member("/tmp/evil", CODE),
    "an absolute name of a wanted file": member("/bundle/src/code", CODE),
    "a name that climbs": member("bundle/../../evil", CODE),
    "a name that climbs back": member("bundle/src/../src/code", CODE),
    "a name with a dot": member("./bundle/src/code", CODE),
    "a name with two slashes": member("bundle//src/code", CODE),
    "another file": member("bundle/src/other", CODE),
    "a file outside of the bundle": member("etc/passwd", CODE),
    "another folder": member("bundle/evil", type=tarfile.DIRTYPE),
    "a symbolic link": link("bundle/src/code", "/etc/passwd"),
    "a symbolic link for a folder": link("bundle/src", "/etc"),
    "a hard link": link("bundle/src/code", "/etc/passwd", tarfile.LNKTYPE),
    "a character device": member("bundle/src/code", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "a block device": member("bundle/src/code", type=tarfile.BLKTYPE, devmajor=8),
    "a pipe": member("bundle/src/code", type=tarfile.FIFOTYPE),
    "a set-user-id bit": member("bundle/src/code", CODE, mode=0o4755),
    "a set-group-id bit": member("bundle/src/code", CODE, mode=0o2755),
    "other content": member("bundle/src/code", CODE[:-1] + b"!"),
    "less content": member("bundle/src/code", CODE[:-1]),
    "more content": member("bundle/src/code", CODE + b"!"),
    "other case": member("bundle/SRC/code", CODE),
    "a newline in the name": member("bundle/src/code\n", CODE),
    "an unknown type": member("bundle/src/code", CODE, type=b"Z"),
    "a name that is no text": member(b"bundle/src/\xff".decode(errors="surrogateescape"), CODE),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_whatever_else_a_bundle_holds_is_refused(what: str, form: int, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    content = archive(HOSTILE[what], form=form)
    with pytest.raises(Malformed):
        strict(content, folder)
    assert everything(tmp_path) <= {"in", "in/src", "in/src/code"}


def test_a_file_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        strict(archive(*good(), member("bundle/src/code", CODE)), tmp_path)


def test_a_file_through_a_link_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(Malformed):
        strict(archive(link("bundle/src", str(outside)), member("bundle/src/code", CODE)), folder)
    assert everything(outside) == set()


def test_two_names_that_the_file_system_takes_for_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/code").write_bytes(b"what was there before")  # as on a disk that ignores case
    with pytest.raises(Malformed, match="two things"):
        strict(archive(*good()), tmp_path)
    assert (tmp_path / "src/code").read_bytes() == b"what was there before"


def test_a_file_that_is_a_folder_too_is_refused(tmp_path: Path) -> None:
    files = wanted(a=CODE, a__b=MODEL)
    with pytest.raises(Malformed, match="two things"):
        strict(archive(member("bundle/a", CODE), member("bundle/a/b", MODEL)), tmp_path, files)


def test_an_archive_with_more_entries_than_files_is_refused(tmp_path: Path) -> None:
    folders = [member("bundle/src", type=tarfile.DIRTYPE) for _ in range(100)]
    with pytest.raises(Malformed, match="more entries"):
        strict(archive(*folders), tmp_path)


def test_a_long_row_of_headers_about_headers_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("bundle/src/code")
    extension = info.create_pax_header({**info.get_info(), "path": "bundle/src/" + "x" * 200}, "utf-8")
    with pytest.raises(Malformed):
        strict(extension[:1024] * 1000, tmp_path)


def test_a_header_that_claims_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    claims = member("x", type=tarfile.XHDTYPE)[0]
    claims.size = (8 << 30) - 1
    content = claims.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 16)
    tracemalloc.start()
    with pytest.raises(Malformed):
        strict(content, tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("keep", [0, 1, 511, 512, 600, 1024, 1500, -1024])
def test_a_truncated_archive_is_refused(keep: int, tmp_path: Path) -> None:
    whole = archive(*good())
    descriptor = Descriptor.of(whole, LAYER_TAR)
    with pytest.raises(Malformed):
        unpack.files(io.BytesIO(whole[:keep]), descriptor, tmp_path, WANTED, below="bundle")


def test_bytes_behind_the_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="follows the end"):
        strict(archive(*good()) + b"hidden", tmp_path)


def test_a_layer_that_is_not_what_its_digest_says_is_refused(tmp_path: Path) -> None:
    content = archive(*good())
    lied = replace(Descriptor.of(content, LAYER_TAR), digest=f"sha256:{'0' * 64}")
    with pytest.raises(Malformed, match="not what its digest says"):
        unpack.files(io.BytesIO(content), lied, tmp_path, WANTED, below="bundle")


def test_a_layer_that_goes_on_for_ever_is_cut_off(tmp_path: Path) -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            return bytes(size)

    with pytest.raises(Malformed):
        unpack.files(
            Endless(), Descriptor(LAYER_TAR, f"sha256:{'0' * 64}", 10_000), tmp_path, WANTED, below="b"
        )


@pytest.mark.parametrize("kind", [LAYER_ZSTD, "application/x-xz", DOCKER_LAYER + "x"])
def test_a_compression_that_is_not_known_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="type"):
        rootfs(tmp_path, archive(*good()), kind=kind)


def test_nothing_is_written_where_nothing_is_to_be(tmp_path: Path) -> None:
    content = archive(*good())
    descriptor = Descriptor.of(content, LAYER_TAR)
    assert unpack.files(io.BytesIO(content), descriptor, None, WANTED, below="bundle") == set(WANTED)
    changed = archive(member("bundle/src/code", CODE[:-1] + b"!"))
    with pytest.raises(Malformed):
        unpack.files(io.BytesIO(changed), Descriptor.of(changed, LAYER_TAR), None, WANTED, below="bundle")
    assert everything(tmp_path) == set()


# -- images: everything stays inside ---------------------------------------------------------------------


def test_layers_lie_over_each_other_with_their_whiteouts(tmp_path: Path) -> None:
    root = tmp_path / "root"
    rootfs(
        root,
        archive(
            member("./etc", type=tarfile.DIRTYPE, mode=0o755),
            member("./etc/a", b"1"),
            member("./etc/b", b"1"),
            member("./opt/x/old", b"1"),
            link("./bin", "usr/bin"),
            member("./usr/bin/tool", b"1", mode=0o755),
        ),
        archive(
            member("etc/.wh.a"),
            member("etc/b", b"2"),
            member("opt/x/new", b"2"),
            member("opt/x/.wh..wh..opq"),
            member("bin/other", b"2"),
            link("etc/hard", "usr/bin/tool", tarfile.LNKTYPE),
        ),
    )
    assert everything(root) == {
        "etc", "etc/b", "etc/hard", "opt", "opt/x", "opt/x/new", "bin", "usr", "usr/bin",
        "usr/bin/tool", "usr/bin/other",
    }  # fmt: skip
    assert (root / "etc/b").read_bytes() == b"2"
    assert (root / "usr/bin/tool").stat().st_ino == (root / "etc/hard").stat().st_ino


def test_an_absolute_link_in_an_image_begins_at_its_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    rootfs(root, archive(link("opt", "/srv/../../.."), link("data", "/srv"), member("data/x", b"1")))
    assert (root / "srv/x").read_bytes() == b"1"
    rootfs(root, archive(member("opt/y", b"1")))
    assert (root / "y").read_bytes() == b"1"
    assert everything(tmp_path) == {"root", "root/opt", "root/data", "root/srv", "root/srv/x", "root/y"}


IN_IMAGES: dict[str, Iterable[tuple[tarfile.TarInfo, bytes]]] = {
    "an absolute name": [member("/evil", CODE)],
    "a name that climbs": [member("../evil", CODE)],
    "a name that climbs later": [member("a/../../evil", CODE)],
    "a link that climbs": [link("evil", "../outside")],
    "a link that climbs from below": [link("a/b/evil", "../../../outside")],
    "a link to a file that climbs": [link("evil", "../outside/secret", tarfile.LNKTYPE)],
    "a link to a file outside": [link("evil", "/etc/passwd", tarfile.LNKTYPE)],
    "a link to a link": [link("s", "x"), link("evil", "s", tarfile.LNKTYPE)],
    "a device": [member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "a pipe": [member("pipe", type=tarfile.FIFOTYPE)],
    "a file where a folder was": [member("a", CODE), member("a/b", CODE)],
    "links in a circle": [link("a", "b"), link("b", "a"), member("a/x", CODE)],
    "a whiteout of nothing": [member(".wh.")],
    "a whiteout that climbs": [member("a/.wh...")],
}


@pytest.mark.parametrize("what", IN_IMAGES)
def test_what_leads_out_of_an_image_is_refused(what: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    with pytest.raises(Malformed):
        rootfs(tmp_path / "root", archive(*IN_IMAGES[what]))
    assert (tmp_path / "root").is_dir()
    assert everything(outside) == {"secret"}
    assert (outside / "secret").stat().st_nlink == 1
    assert {path.name for path in tmp_path.iterdir()} == {"outside", "root"}


def test_a_link_to_a_folder_outside_is_followed_inside_only(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    rootfs(root, archive(link("way", str(outside)), member("way/file", CODE)))
    assert everything(outside) == set()
    assert (root / str(outside).lstrip("/") / "file").read_bytes() == CODE


def test_a_file_in_place_of_a_link_leaves_what_it_points_to_alone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    rootfs(root, archive(member("real", b"1"), link("name", "real")), archive(member("name", b"2")))
    assert (root / "real").read_bytes() == b"1"
    assert (root / "name").read_bytes() == b"2"


def test_set_user_id_bits_are_not_kept(tmp_path: Path) -> None:
    rootfs(tmp_path, archive(member("su", CODE, mode=0o6755), member("d", type=tarfile.DIRTYPE, mode=0o2700)))
    assert stat.S_IMODE((tmp_path / "su").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) & 0o6000 == 0


def test_a_compressed_bomb_is_cut_off(tmp_path: Path) -> None:
    bomb = gzip.compress(archive(member("zeros", bytes(300 << 20))), 9)
    assert len(bomb) < 400_000
    with pytest.raises(Malformed, match="more bytes than it may"):
        rootfs(tmp_path, bomb, kind=LAYER_GZIP)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) <= 101 << 20


def test_the_layers_of_an_image_share_one_limit(tmp_path: Path) -> None:
    layers = [archive(member(f"f{number}", bytes(1 << 20))) for number in range(4)]
    with pytest.raises(Malformed, match="more bytes than it may"):
        rootfs(tmp_path, *layers, most_bytes=3 << 20)
    with pytest.raises(Malformed, match="more entries"):
        rootfs(tmp_path / "b", archive(*(member(f"f{number}") for number in range(30))), most_entries=20)


def test_gzip_in_several_members_and_cut_off(tmp_path: Path) -> None:
    whole = archive(member("f", MODEL))
    content = gzip.compress(whole[:700]) + gzip.compress(whole[700:])
    rootfs(tmp_path, content, kind=DOCKER_LAYER)
    assert (tmp_path / "f").read_bytes() == MODEL
    for keep in (5, 40, len(content) - 3):
        with pytest.raises(Malformed):
            rootfs(tmp_path / str(keep), content[:keep], kind=LAYER_GZIP)
    with pytest.raises(Malformed, match="not gzip"):
        rootfs(tmp_path / "x", whole, kind=LAYER_GZIP)


# -- any bytes at all ------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.none() | st.integers(0, 6000),
)
def test_damage_anywhere_is_refused_or_harmless(
    changes: list[tuple[int, int]], cut: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outer = tmp_path_factory.mktemp("fuzz")
    content = bytearray(archive(*good(), member("bundle/src", type=tarfile.DIRTYPE)))
    for place, value in changes:
        content[place % len(content)] = value
    raw = bytes(content[:cut])
    for act in (lambda: strict(raw, outer / "a"), lambda: rootfs(outer / "b", raw)):
        try:
            act()
        except Malformed:
            continue
    assert {path.name for path in outer.iterdir()} <= {"a", "b"}
    for path in (outer / "a").rglob("*"):
        name = str(path.relative_to(outer / "a"))
        assert name in {"src", "src/code", "src/model"}


@given(
    names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=1), max_size=5)
)
def test_tarfile_and_mdeploy_read_the_same(names: list[str]) -> None:
    told = [member(name, name.encode()) for name in names]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        content = archive(*told, form=form)
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            theirs = [(one.name, one.size) for one in tar]
        ours = [
            (one.path.rstrip("/"), one.size)
            for one, inner in members(io.BytesIO(content), most=10)
            if list(inner.pieces()) is not None
        ]
        assert ours == [(name.rstrip("/"), size) for name, size in theirs]
