"""Bytecode that is the same whatever else is compiled, and by whom of the same version."""

from __future__ import annotations

import importlib.util
import marshal
import random
import sys
from pathlib import Path

import pytest

from modeldeploy.errors import BundleError
from modeldeploy.image.base import compiler as compilers
from modeldeploy.image.base.compiler import Compiler, Source, installed

SOURCES = {
    "star.py": "from os import *\nx = '*'\n",
    "names.py": "N = 'FLOAT8E5M2'\ndef f(a=('DOUBLE', 'FLOAT8E5M2')):\n    return a, {'x', 'y'}, 1.5\n",
    "more.py": "DOUBLE = FLOAT8E5M2 = 'DOUBLE'\n__all__ = ['*', 'a']\n",
    "déjà vu.py": "print('ü')\n",
    "template.py": "class {{ name }}:\n    pass\n",
    "nul.py": "x = '\0'\n",
}


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    return Compiler.started_by([sys.executable])


def compiled(compiler: Compiler, folder: Path, names: list[str]) -> dict[str, bytes]:
    folder.mkdir()
    sources = []
    for number, name in enumerate(names):
        path = folder / f"{number}.py"
        path.write_text(SOURCES[name])
        sources.append(Source(path, f"/opt/{name}", folder / f"{number}.pyc"))
    compiler.compile(sources)
    return {Path(each.name).name: each.to.read_bytes() for each in sources if each.to.exists()}


def test_neither_the_order_nor_the_company_shows(compiler: Compiler, tmp_path: Path) -> None:
    names = list(SOURCES)
    whole = compiled(compiler, tmp_path / "all", names)
    random.Random(5).shuffle(names)
    assert compiled(compiler, tmp_path / "shuffled", names) == whole
    for number, name in enumerate(whole):
        assert compiled(compiler, tmp_path / str(number), [name])[name] == whole[name]


def test_what_is_no_python_is_left_out(compiler: Compiler, tmp_path: Path) -> None:
    found = compiled(compiler, tmp_path / "all", list(SOURCES))
    assert set(SOURCES) - set(found) == {"template.py", "nul.py"}


def test_files_are_unchecked_hash_and_tell_their_place_in_the_image(
    compiler: Compiler, tmp_path: Path
) -> None:
    content = compiled(compiler, tmp_path / "all", ["names.py"])["names.py"]
    assert content[:4] == importlib.util.MAGIC_NUMBER
    assert content[4:8] == (1).to_bytes(4, "little"), "hash-based, and the source is not looked at"
    assert content[8:16] == importlib.util.source_hash(SOURCES["names.py"].encode())
    assert marshal.loads(content[16:]).co_filename == "/opt/names.py"


def test_python_loads_them_without_their_sources(compiler: Compiler, tmp_path: Path) -> None:
    content = compiled(compiler, tmp_path / "all", ["names.py"])["names.py"]
    (tmp_path / "names.pyc").write_bytes(content)
    spec = importlib.util.spec_from_file_location("names", tmp_path / "names.pyc")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.f()[0] == ("DOUBLE", "FLOAT8E5M2")


def test_the_interpreter_is_prepared_only_when_there_is_something_to_compile(
    compiler: Compiler, tmp_path: Path
) -> None:
    asked: list[int] = []

    def prepare() -> Compiler:
        asked.append(1)
        return compiler

    lazy = Compiler(compiler.version, prepare=prepare)
    lazy.compile([])
    assert not asked
    assert compiled(lazy, tmp_path / "all", ["star.py"]) and asked == [1]
    assert lazy.tag == f"cpython-{sys.version_info[0]}{sys.version_info[1]}"


def test_another_version_than_locked_is_refused(compiler: Compiler, tmp_path: Path) -> None:
    lazy = Compiler("3.11.0", prepare=lambda: compiler)
    with pytest.raises(BundleError, match=r"made by CPython 3\.11\.0, and there is"):
        compiled(lazy, tmp_path / "all", ["star.py"])


def test_an_interpreter_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"CPython 3\.99\.1 could not compile"):
        compiled(Compiler("3.99.1", ("false",)), tmp_path / "all", ["star.py"])


def test_a_python_of_this_machine_is_found_by_its_version(compiler: Compiler) -> None:
    exact = ".".join(map(str, sys.version_info[:3]))
    assert compilers.installed(exact).version == exact
    with pytest.raises(BundleError, match=r"CPython 3\.0\.1, which is not on this machine"):
        installed("3.0.1")
