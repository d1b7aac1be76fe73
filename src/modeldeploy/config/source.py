"""The project file's text: read with care, parsed by `tomllib`, refused in words."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeldeploy import files
from modeldeploy.config.names import PROJECT_FILE
from modeldeploy.errors import ConfigError

LARGEST = 1_000_000
"""Bytes. A project file has a few thousand; a model or a log given by mistake has more."""
MOST_PARTS = 16
"""Parts of a dotted key. `tomllib` needs memory for the square of them, and no key has more than five."""


@dataclass(frozen=True)
class Source:
    """A project file that could be read. Its text may hold secrets: not in ``repr``."""

    path: Path
    text: str = field(repr=False)

    @property
    def shown(self) -> str:
        """How messages name the file."""
        return shown(self.path)


def shown(path: Path) -> str:
    """A path relative to the current folder where it is below it, so that editors can jump to it."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        return str(path)
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def read(folder: Path, name: str = PROJECT_FILE) -> Source:
    """The project file in this folder, or another text beside it, its line ends made LF.

    Raises `ConfigError` for a file that is missing, no regular file, unreadable, over 1 MB, or not UTF-8.
    """
    try:
        path = Path(folder).absolute() / name
    except FileNotFoundError:
        raise ConfigError("the current folder is no longer there", hint="cd ~") from None
    try:
        content = files.read_small(path, LARGEST, "project file")
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {shown(path)}: {reason}", hint=f"ls -l '{path}'") from None
    return Source(path, _decoded(path, content))


def parse(source: Source) -> dict[str, Any]:
    """The values in it. Raises `ConfigError` with line, column and the line itself for bad syntax."""
    # The quick look first: patterns cost more to compile than a project file to parse.
    if any(line.count(".") >= MOST_PARTS for line in source.text.split("\n")):
        _refuse_overlong_key(source)
    try:
        return tomllib.loads(source.text)
    except RecursionError:
        raise too_deep(source) from None
    except ValueError as error:  # also numbers of thousands of digits, which are no TOMLDecodeError
        from modeldeploy.config import syntax

        raise syntax.explain(source, error) from None


def too_deep(source: Source) -> ConfigError:
    """The error for lists in lists in lists, down to where Python gives up."""
    return ConfigError(f"{source.shown}: nested too deeply; expected at most five levels")


def _refuse_overlong_key(source: Source) -> None:
    from modeldeploy.config import syntax

    if syntax.has_overlong_key(source.text):
        raise ConfigError(f"{source.shown}: a key has more than {MOST_PARTS} parts; expected at most five")


def _decoded(path: Path, content: bytes) -> str:
    save = "save it as UTF-8 without a byte-order mark"
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{shown(path)}:1: begins with a byte-order mark; expected plain UTF-8", hint=save)
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{shown(path)}:{line}: byte {content[error.start]:#04x} is not UTF-8; expected plain UTF-8",
            hint=save,
        ) from None


def _missing(path: Path) -> ConfigError:
    if path.parent.is_file():
        return ConfigError(
            f"{path.parent} is a file; expected the folder that holds {PROJECT_FILE}",
            hint=f"--project '{path.parent.parent}'",
        )
    if not path.parent.exists():
        return ConfigError(f"there is no folder {path.parent}", hint="mdeploy init")
    return ConfigError(f"there is no {PROJECT_FILE} in {path.parent}", hint="mdeploy init")
