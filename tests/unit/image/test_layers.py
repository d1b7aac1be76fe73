from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import replace

import pytest

from image_place import Shop, Told
from modeldeploy.image.cache import ImageCache
from modeldeploy.image.layers import LARGE, SITE, Group, PackageLayers, Wanted, package_layers, partition
from modeldeploy.image.wheels import Distribution, Entry


def distribution(name: str, size: int, *, pure: bool) -> Distribution:
    return Distribution(name, "1.0", "", pure, (Entry(f"{name}.py", b"", "0" * 64, size),))


@pytest.fixture
def shop() -> Shop:
    big = b"#" * LARGE
    wheels = {
        "big": {"big/__init__.py": b"import os\n", "big/data": big},
        "fast": {"fast.so": b"elf"},
        "plain": {"plain.py": b"def f():\n    return {'a', 'b', 'c'}\n", "plain_py2.py": b"print 'old'\n"},
        "more": {"more.py": b"x = 1\n"},
    }
    return Shop(wheels, {"fast": "cp311-cp311-manylinux_2_28_x86_64"})


def content(cache: ImageCache, layers: PackageLayers, number: int) -> dict[str, tarfile.TarInfo]:
    packed = cache.path(layers.layers[number].descriptor.digest).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as archive:
        return {member.name: member for member in archive}


def test_big_packages_stand_alone_and_the_rest_is_divided_by_native_code() -> None:
    found = [
        distribution("zlib", LARGE, pure=False),
        distribution("big", LARGE * 3, pure=True),
        distribution("small", 10, pure=False),
        distribution("plain", 10, pure=True),
        distribution("other", LARGE - 1, pure=True),
    ]
    groups = partition(found)
    assert [(group.kind, group.name) for group in groups] == [
        ("wheel", "big 1.0"),
        ("wheel", "zlib 1.0"),
        ("binary", "1 package with native code"),
        ("pure", "2 packages of pure Python"),
    ]


def test_at_most_48_packages_stand_alone() -> None:
    groups = partition([distribution(f"p{number}", LARGE + number, pure=True) for number in range(60)])
    assert [group.kind for group in groups].count("wheel") == 48
    assert len(groups[-1].members) == 12
    assert max(member.size for member in groups[-1].members) == LARGE + 11


def test_layers_hold_sources_byte_code_and_every_folder(
    shop: Shop, wanted: Wanted, cache: ImageCache, told: Told
) -> None:
    layers = package_layers(wanted, cache, emit=told, installer=shop)
    assert [layer.name for layer in layers.layers][:2] == ["big 1.0", "1 package with native code"]
    pure = content(cache, layers, 2)
    compiled = f"{SITE}/__pycache__/plain.{wanted.compiler.tag}.pyc"
    assert {f"{SITE}/plain.py", compiled, "opt", "opt/mdeploy", SITE} <= pure.keys()
    assert f"{SITE}/__pycache__/plain_py2.{wanted.compiler.tag}.pyc" not in pure
    assert not any(path.startswith(f"{SITE}/bin") for path in pure)
    assert {(member.uid, member.gid, member.mtime) for member in pure.values()} == {(0, 0, 315532800)}


def test_the_second_time_nothing_is_installed(
    shop: Shop, wanted: Wanted, cache: ImageCache, told: Told
) -> None:
    first = package_layers(wanted, cache, emit=told, installer=shop)
    told.events.clear()
    second = package_layers(wanted, cache, emit=told, installer=shop)
    assert (shop.installed, told.events, second.built) == (1, [], frozenset())
    assert second.layers == first.layers


def test_another_version_of_one_package_makes_one_layer(
    shop: Shop, wanted: Wanted, cache: ImageCache, told: Told
) -> None:
    first = package_layers(wanted, cache, emit=told, installer=shop)
    shop.wheels["more"]["more.py"] = b"x = 2\n"
    second = package_layers(replace(wanted, lock="other==2\n"), cache, emit=told, installer=shop)
    same = {layer.descriptor.digest for layer in first.layers} & {
        layer.descriptor.digest for layer in second.layers
    }
    assert len(same) == 2
    assert second.built == {second.layers[-1].descriptor.digest}


def test_a_layer_that_is_gone_from_the_cache_is_made_again_as_it_was(
    shop: Shop, wanted: Wanted, cache: ImageCache, told: Told
) -> None:
    first = package_layers(wanted, cache, emit=told, installer=shop)
    lost = first.layers[1].descriptor
    cache.path(lost.digest).unlink()
    second = package_layers(wanted, cache, emit=told, installer=shop)
    assert second.layers == first.layers
    assert second.built == {lost.digest}
    assert cache.has(lost)


def test_a_damaged_note_costs_time_and_nothing_else(
    shop: Shop, wanted: Wanted, cache: ImageCache, told: Told
) -> None:
    first = package_layers(wanted, cache, emit=told, installer=shop)
    for note in (cache.folder.parent / "cache").rglob("*.json"):
        note.write_text('[{"kind": 3}]')
    assert package_layers(wanted, cache, emit=told, installer=shop).layers == first.layers


@pytest.mark.parametrize("change", [{"compressor": "zlib-ng 2"}, {"python": "3.11.1"}, {"lock": "x==1\n"}])
def test_everything_that_decides_over_bytes_is_in_the_key(wanted: Wanted, change: dict[str, str]) -> None:
    assert replace(wanted, **change).key != wanted.key  # type: ignore[arg-type]  # of these fields


def test_the_compressor_and_the_compiler_are_in_a_layers_key(wanted: Wanted) -> None:
    group = Group("pure", (distribution("plain", 1, pure=True),))
    other = replace(wanted, compiler=replace(wanted.compiler, version="3.11.0"))
    assert len({group.key(each) for each in (wanted, other, replace(wanted, compressor="x"))}) == 3
