"""Writing several values at once: added or replaced, and nothing else touched."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from modeldeploy.config.edit import set_values
from modeldeploy.config.load import load
from modeldeploy.errors import ConfigError

Write = Callable[[str], Path]
TEXT = """\
# My digits
[project]   # here
name = "digits"
version = "1.0.0"

[model]
path='model.onnx'   # oddly written
# the end of the model
{more}
[targets.local]
driver = "process"  # last
port = 18080
"""
VALUES: dict[tuple[str, str], str | int] = {
    ("model", "path"): "model.int8.onnx",
    ("service", "threads"): 1,
    ("service", "batch_rows"): 16,
}


@pytest.mark.parametrize("more", ["", "[service]\nthreads = 2 # mine\n", "[service]\n"])
def test_values_are_replaced_or_added_and_comments_stay(write: Write, more: str) -> None:
    folder = write(TEXT.format(more=more))

    set_values(folder, VALUES)

    text = (folder / "modeldeploy.toml").read_text()
    service = load(folder, may_be_missing=("model.path",)).file.service
    assert (service.threads, service.batch_rows) == (1, 16)
    for comment in ("# My digits", "# here", "# oddly written", "# the end of the model", "# last"):
        assert comment in text
    assert ("# mine" in text) == ("# mine" in more)
    assert text.index("[project]") < text.index("[model]") < text.index("[targets.local]")


def test_inline_tables_and_dotted_keys_are_written_too(write: Write) -> None:
    text = 'project = { name = "a", version = "1" }\nmodel = { path = "m.onnx" } # m\nservice.threads = 4\n'
    folder = write(text)

    set_values(folder, VALUES)

    found = tomllib.loads((folder / "modeldeploy.toml").read_text())
    assert found["model"] == {"path": "model.int8.onnx"}
    assert found["service"] == {"threads": 1, "batch_rows": 16}


def test_a_file_where_a_table_is_something_else_stays_as_it_is(write: Write) -> None:
    text = 'service = 3\n[project]\nname = "a"\nversion = "1"\n[model]\npath = "m.onnx"\n'
    folder = write(text)

    with pytest.raises(ConfigError, match="service: expected a table"):
        set_values(folder, VALUES)

    assert (folder / "modeldeploy.toml").read_text() == text


def test_a_folder_that_cannot_be_written_keeps_its_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(TEXT.format(more=""))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modeldeploy.files.write_atomic", full)
    with pytest.raises(ConfigError, match="cannot write") as caught:
        set_values(folder, VALUES)

    assert 'path = "model.int8.onnx"' in (caught.value.hint or "")
    assert (folder / "modeldeploy.toml").read_text() == TEXT.format(more="")
