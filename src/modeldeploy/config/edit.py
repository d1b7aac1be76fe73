"""Changing one value in a project file, and nothing else in it: comments and order stay."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from modeldeploy import files
from modeldeploy.config import source
from modeldeploy.config.names import NAME, NAME_RULE, PROJECT_FILE, VERSION, VERSION_RULE, matches
from modeldeploy.errors import ConfigError

Part = Literal["major", "minor", "patch"]

_NUMBERED = re.compile(r"(v?)([0-9]{1,18})(?:\.([0-9]{1,18}))?(?:\.([0-9]{1,18}))?(.*)")
_BEFORE_RELEASE = re.compile(r"[.-]?(?:a|b|c|rc|alpha|beta|pre|preview|dev)[.-]?[0-9]*(?:[.+-].*)?")
_AFTER_RELEASE = re.compile(r"(?:[.-]?(?:post|rev|r)[.-]?[0-9]*)?(?:\+.*)?")


def set_version(path: Path, new: str) -> None:
    """Write another ``project.version`` into a project file (or the one in this folder), atomically.

    Raises `ConfigError` for a version that cannot be one, and for a file that has none to replace.
    """
    if not matches(VERSION, new):
        raise ConfigError(f"'{new[:80]}' is not a version; expected {VERSION_RULE}")
    _set(path, "version", new)


def set_name(path: Path, new: str) -> None:
    """Write another ``project.name`` into a project file; otherwise as `set_version`."""
    if not matches(NAME, new):
        raise ConfigError(f"'{new[:80]}' is not a name; expected {NAME_RULE}")
    _set(path, "name", new)


def set_python(path: Path, new: str) -> None:
    """Write another ``build.python`` into a project file, such as ``3.13``; otherwise as `set_version`."""
    _set(path, "python", new, table="build")


def set_values(path: Path, values: Mapping[tuple[str, str], str | int]) -> None:
    """Write values by table and key, adding what is not there, all at once or nothing; otherwise as `_set`.

    Raises `ConfigError` where that cannot be done without touching anything else in the file.
    """
    folder = path if path.is_dir() else path.parent
    file = source.read(folder)
    wanted = source.parse(file)
    for (table, key), new in values.items():
        if not isinstance(wanted.setdefault(table, {}), dict):
            raise ConfigError(f"{file.shown}: {table}: expected a table")
        wanted[table][key] = new
    _write(file, _edited((folder / PROJECT_FILE).read_bytes().decode(), values), values, wanted)


def _set(path: Path, key: str, new: str, *, table: str = "project") -> None:
    folder = path if path.is_dir() else path.parent
    file = source.read(folder)
    before = source.parse(file)
    if not isinstance(before.get(table), dict) or key not in before[table]:
        raise ConfigError(f"{file.shown}: {table}.{key}: missing; expected a {key} to replace")
    set_values(path, {(table, key): new})


def _write(
    file: source.Source, edited: str, values: Mapping[tuple[str, str], str | int], wanted: Mapping[str, Any]
) -> None:
    """Replace the file, if its text now says what is wanted and nothing else."""
    keys = ", ".join(".".join(name) for name in values)
    lines = "; ".join(f"{key} = {json.dumps(new, ensure_ascii=False)}" for (_, key), new in values.items())
    if source.parse(source.Source(file.path, edited.replace("\r\n", "\n"))) != wanted:
        raise ConfigError(
            f"{file.shown}: {keys}: cannot be replaced without touching other keys",
            hint=f"write {lines} yourself",
        )
    # A link stays a link: the file that it leads to is replaced.
    real = file.path.resolve()
    try:
        files.write_atomic(real, edited.encode(), mode=real.stat().st_mode & 0o777)
    except OSError as error:
        raise ConfigError(
            f"cannot write {file.shown}: {error.strerror}",
            hint=f"make its folder writable, or write {lines} yourself",
        ) from error


def _edited(text: str, values: Mapping[tuple[str, str], str | int]) -> str:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        for (table, key), new in values.items():
            if table not in document:
                document[table] = tomlkit.table()
            document[table][key] = new
        return tomlkit.dumps(document)
    except (TOMLKitError, RecursionError):
        return text  # the comparison finds that nothing was replaced


def next_version(version: str, part: Part = "patch") -> str:
    """The version that follows when this part is raised, as semantic versioning counts.

    A pre-release is followed by its release; what stands behind a plus is dropped. Raises `ConfigError`
    for a version that does not begin with numbers or goes on in a way that tells nothing of its order.

    >>> next_version("1.2.3"), next_version("1.2.3", "minor"), next_version("2.0.0-rc1", "major")
    ('1.2.4', '1.3.0', '2.0.0')
    """
    if part not in get_args(Part):
        raise ConfigError(f"'{part}' is no part of a version; expected {', '.join(get_args(Part))}")
    found = _NUMBERED.fullmatch(version)
    if found is None:
        raise _unordered(version, part)
    prefix, *numbers, rest = found.groups()
    unreleased = _BEFORE_RELEASE.fullmatch(rest) is not None
    if not unreleased and _AFTER_RELEASE.fullmatch(rest) is None:
        raise _unordered(version, part)
    major, minor, patch = (int(number or 0) for number in numbers)
    raised = _raised(major, minor, patch, part, unreleased=unreleased)
    return prefix + ".".join(str(number) for number in raised)


def _raised(major: int, minor: int, patch: int, part: Part, *, unreleased: bool) -> tuple[int, int, int]:
    if part == "major":
        return (major if unreleased and not (minor or patch) else major + 1), 0, 0
    if part == "minor":
        return major, (minor if unreleased and not patch else minor + 1), 0
    return major, minor, (patch if unreleased else patch + 1)


def _unordered(version: str, part: str) -> ConfigError:
    return ConfigError(
        f"cannot tell which version follows '{version[:80]}' when its {part} is raised",
        hint="write the new version into modeldeploy.toml yourself",
    )
