"""A project's folder to make mistakes in."""

from collections.abc import Callable
from pathlib import Path

import pytest

from config_place import GOOD
from modeldeploy.config.load import load
from modeldeploy.errors import ConfigError

Write = Callable[[str], Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a model file in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"model")
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Write:
    def write(text: str) -> Path:
        (folder / "modeldeploy.toml").write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def good(write: Write) -> Path:
    return write(GOOD)


@pytest.fixture
def refused(write: Write) -> Callable[[str], ConfigError]:
    """Loads this text and gives back the error."""

    def refused(text: str) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            load(write(text))
        return caught.value

    return refused
