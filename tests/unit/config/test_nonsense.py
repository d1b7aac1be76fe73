"""Whatever stands in the file: it is loaded, or refused with a `ConfigError`."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modeldeploy.config import describe
from modeldeploy.config.edit import next_version, set_version
from modeldeploy.config.load import load
from modeldeploy.config.peek import peek
from modeldeploy.errors import ConfigError

# The folder is shared by the examples of one test: each writes the file anew.
fuzz = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def try_everything(folder: Path, content: bytes) -> None:
    (folder / "modeldeploy.toml").write_bytes(content)
    for use in (load, peek, lambda place: peek(place, "local"), lambda place: set_version(place, "9")):
        with suppress(ConfigError):
            use(folder)


@given(st.binary(max_size=200))
@example(b"\xff")
@fuzz
def test_any_bytes(folder: Path, content: bytes) -> None:
    try_everything(folder, content)


@given(st.text(st.sampled_from(list("[]{}=.,\"'#\n\\ ab1-_:+é\0")), max_size=80))
@fuzz
def test_any_text_of_tomls_own_marks(folder: Path, content: str) -> None:
    try_everything(folder, content.encode())


scalars = st.one_of(
    st.none().map(lambda _: "x"),
    st.text(max_size=10),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.datetimes(),
    st.sampled_from(
        ["process", "canary", "10s", "1.0.0", "model.onnx", "a", math.inf, -1, 0, 10**30, "../x", "{reason}"]
    ),
)
nested = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


def tables(path: tuple[str, ...] = ()) -> st.SearchStrategy[dict[str, Any]]:
    """Tables of the schema's own keys, with values of any kind, some keys missing and some unknown."""
    known = {
        key.path[-1]: (nested | tables(key.path)) if key.is_table and key.path != ("targets",) else nested
        for key in describe.every_key(path)
        if key.path[:-1] == path
    }
    if path == ():
        known["targets"] = nested | st.dictionaries(
            st.sampled_from(["local", "Bad Name", "process", "[key]", "env"]),
            nested | tables(("targets", "NAME")),
            max_size=2,
        )
    return st.fixed_dictionaries({}, optional={**known, "unknwon": nested, "[key]": nested})


@given(tables())
@fuzz
def test_any_values_for_the_right_keys(folder: Path, values: dict[str, Any]) -> None:
    try_everything(folder, tomlkit.dumps(values).encode(errors="replace"))


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 400 + "]" * 400,
        "a = 0x" + "f" * 20_000,
        "[project]\nname = 0x" + "f" * 20_000,
        "[targets.a]\ndriver = 'process'\nport = 0x"
        + "f" * 20_000
        + "\nrollout.steps = [0x"
        + "f" * 20_000
        + "]",
        "[targets.a]\ndriver = 'process'\nrollout.gates.error_rate = 0x" + "f" * 20_000,
        "[targets.a]\ndriver = 'process'\nrollout.soak = 0x" + "f" * 20_000,
        "[targets.a]\ndriver = 'process'\nrollout.soak = nan\nrollout.keep = inf",
        "[targets.'[key]']\ndriver = 'process'\n'[key]' = 1",
        "[targets.process]\ndriver = 5\nprocess = 1\nplugin = 2",
        "[targets.process.process.process]",
        "[project]\nname = '" + "A" * 100_000 + "'",
        "[targets.'" + "A" * 100_000 + "']",
        "'" + "A" * 100_000 + "' = 1",
        "[model]\npath = '" + "a" * 5000 + "'",
        "[model]\npath = 'a\\u0000b'",
        "[model]\npath = ' '\ngolden = ''",
        "[build]\ninclude = ['**/**', '[', '']\n",
        "[service]\nentrypoint = 'a." + "b." * 3000 + "c:D'",
        "a = 2021-02-30",
        "{x}",
    ],
)
def test_nasty_files(folder: Path, text: str) -> None:
    try_everything(folder, text.encode())
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert len(caught.value.message) < 4000


@given(st.text(max_size=20) | st.from_regex(r"v?[0-9.]+[a-z0-9.+-]*", fullmatch=True))
@fuzz
def test_any_version(text: str) -> None:
    with suppress(ConfigError):
        assert next_version(text)
