import json
import string
import tomllib
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from modeldeploy.config.positions import KeyPath, locate


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1\nb = 2", ("b",), 2),
        ("# comment with = and [brackets]\n\na = 1", ("a",), 3),
        ("[table]\n\nkey = 1", ("table", "key"), 3),
        ("[table]\nkey = 1", ("table",), 1),
        ("a.b.c = 1\na.b.d = 2", ("a", "b", "d"), 2),
        ("a.b.c = 1\na.b.d = 2", ("a", "b"), 1),
        ("a . b\t. c = 1", ("a", "b", "c"), 1),
        ("[ a . b ]\nc = 1", ("a", "b", "c"), 2),
        ('"a b"."c.d" = 1', ("a b", "c.d"), 1),
        ("'a\\b' = 1\nc = 2", ("a\\b",), 1),
        ('\n"\\u0061\\"b" = 1', ('a"b',), 2),
        ("t = { x = 1, y = { z = 2 } }\nu = 3", ("t", "y", "z"), 1),
        ("t = { x = [\n1,\n2 ], y = 3 }", ("t", "y"), 3),
        ("a = [\n  1, # one ]\n  2,\n]\nb = 1", ("a", 1), 3),
        ("a = [\n  1,\n]\nb = 1", ("b",), 4),
        ("a = [[1, 2],\n [3]]\nb = 1", ("a", 1, 0), 2),
        ('a = """\nb = 1\n[c]\n"""\nd = 1', ("d",), 5),
        ("a = '''\nb = 1\n'''\nd = 1", ("d",), 4),
        ('a = """x\\"""\n""""\nd = 1', ("d",), 3),
        ('a = """"x""\n"""""\nd = 1', ("d",), 3),
        ("a = ''''x''\n'''''\nd = 1", ("d",), 3),
        ('a = "#] \\" }"\nd = 1', ("d",), 2),
        ("a = 1979-05-27 07:32:00\nb = 1", ("b",), 2),
        ("[[x]]\na = 1\n[[x]]\na = 2", ("x", 1, "a"), 4),
        ("[[x]]\n[x.y]\na = 1\n[[x]]\n[x.y]\na = 2", ("x", 1, "y", "a"), 6),
        ("[[x]]\n[[x.y]]\na = 1\n[[x.y]]\na = 2", ("x", 0, "y", 1, "a"), 5),
        ("[a.b]\nc = 1\n[a]\nd = 1", ("a",), 3),
        ("[a.b]\nc = 1\n[z]\n[a.d]\ne = 1", ("a", "d", "e"), 5),
        ("[a]\n[b]", ("b",), 2),
    ],
)
def test_finds_the_line_of_a_key(text: str, path: KeyPath, line: int) -> None:
    tomllib.loads(text)
    assert locate(text).lines[path] == line


def test_a_key_that_is_missing_stands_where_its_table_does() -> None:
    positions = locate("a = 1\n[t.u]\nb = 2")
    assert positions.line(("t", "u", "zz")) == 2
    assert positions.line(("nowhere", "x")) == 1


def paths(value: Any, at: KeyPath = ()) -> set[KeyPath]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path for key, item in below for path in {(*at, key), *paths(item, (*at, key))}}


scalars = st.one_of(
    st.integers(-(10**6), 10**6),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12),
    st.dates(),
    st.datetimes(),
)
keys = st.text(string.ascii_letters + string.digits + '-_. "#=[é', min_size=1, max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)
documents = st.dictionaries(keys, values, max_size=5)


@given(documents)
@settings(max_examples=80, deadline=None)
def test_knows_the_same_keys_as_tomllib_in_what_tomlkit_writes(document: dict[str, Any]) -> None:
    text = tomlkit.dumps(document).replace("\r\n", "\n")
    assert set(locate(text).lines) == paths(tomllib.loads(text))


def one_line(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}={one_line(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + ",# ]\n".join(one_line(item) for item in value) + "\n]"
    return str(tomlkit.item(value).as_string())


@given(documents)
@settings(max_examples=80, deadline=None)
def test_finds_each_top_key_on_the_line_it_was_written_to(document: dict[str, Any]) -> None:
    text, starts = "", {}
    for key, value in document.items():
        starts[key] = text.count("\n") + 1
        text += f"{json.dumps(key)} = {one_line(value)}\n"
    positions = locate(text)
    assert set(positions.lines) == paths(tomllib.loads(text))
    assert {key: positions.lines[(key,)] for key in document} == starts


def test_a_deep_and_broad_file_does_not_fill_the_memory() -> None:
    text = "a = [" + ",".join("[" * 100 + "]" * 100 for _ in range(500)) + "]"
    assert len(locate(text).lines) < 10_000
