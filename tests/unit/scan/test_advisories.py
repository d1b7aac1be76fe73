"""Databases of advisories, sound and not."""

from __future__ import annotations

import json
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modeldeploy.errors import ConfigError
from modeldeploy.scan import advisories, matching
from modeldeploy.scan.found import Package
from modeldeploy.scan.packages import packages

PACKAGES = frozenset({"flask"})


def entry(name: str = "Flask", **changes: Any) -> dict[str, Any]:
    affected = {"package": {"ecosystem": "PyPI", "name": name}, "versions": ["1.0"]}
    return {"id": "GHSA-1", "modified": "2026-10-01T00:00:00Z", "affected": [affected], **changes}


def folder_of(tmp_path: Path, *values: object) -> Path:
    folder = tmp_path / "osv"
    folder.mkdir()
    for number, value in enumerate(values):
        text = value if isinstance(value, str) else json.dumps(value)
        (folder / f"{number}.json").write_text(text)
    return folder


def test_a_folder_and_a_zip_are_the_same(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, entry(), entry("numpy", modified="2026-11-01T00:00:00Z"))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"PyPI/{file.name}")
    for path in (folder, tmp_path / "all.zip"):
        found = advisories.read(path, PACKAGES)
        assert (found.count, found.unreadable, list(found.by_package)) == (2, 0, ["flask"])
        assert found.newest == datetime(2026, 11, 1, tzinfo=UTC)


NONSENSE: list[object] = [
    "not JSON",
    "[" * 100_000,
    [],
    7,
    {},
    {"id": "X"},
    entry(modified="yesterday"),
    entry(affected=7),
    entry(affected=[7]),
    entry(affected=[{"package": {"ecosystem": "PyPI"}}]),
    entry(affected=[{"package": {"ecosystem": "PyPI", "name": 7}}]),
    entry(affected=[{"package": 7}]),
]


@pytest.mark.parametrize("value", NONSENSE, ids=range(len(NONSENSE)))
def test_what_is_no_advisory_is_counted_and_left_out(tmp_path: Path, value: object) -> None:
    found = advisories.read(folder_of(tmp_path, entry(), value), PACKAGES)
    assert (found.count, found.unreadable) == (1, 1)
    assert list(matching.matches(found, [Package("flask", "1.0")]))


def test_advisories_for_other_languages_are_no_nonsense(tmp_path: Path) -> None:
    other = entry(affected=[{"package": {"ecosystem": "npm", "name": "flask"}, "versions": ["1.0"]}])
    found = advisories.read(folder_of(tmp_path, entry(), other), PACKAGES)
    assert (found.count, found.unreadable) == (1, 0)


def test_a_time_without_a_zone_can_be_compared(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, entry(modified="2026-11-01T00:00:00"), entry())
    assert advisories.read(folder, PACKAGES).newest == datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "other language", "pipe"])
def test_what_is_no_database_is_refused_and_not_taken_for_good_news(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "db"
    if kind == "empty":
        path.mkdir()
    elif kind == "text":
        path.write_text("hello")
    elif kind == "truncated":
        with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
            archive.writestr("1.json", json.dumps(entry()))
        path.write_bytes((tmp_path / "whole.zip").read_bytes()[:-10])
    elif kind == "other language":
        path = folder_of(tmp_path, entry(affected=[{"package": {"ecosystem": "npm", "name": "flask"}}]))
    elif kind == "pipe":
        path.mkdir()
        os.mkfifo(path / "1.json")
    with pytest.raises(ConfigError) as refused:
        advisories.read(path, PACKAGES)
    assert "OSV" in (refused.value.hint or "")


def test_a_bomb_in_a_database_is_left_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "db.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.json", json.dumps(entry()))
        archive.writestr("2.json", b" " * (50 << 20))
    found = advisories.read(tmp_path / "db.zip", PACKAGES)
    assert (found.count, found.unreadable) == (1, 1)


def test_the_packages_of_a_lock_are_told_for_all_platforms() -> None:
    lock = (
        "Flask[async]==3.0.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"
        "uvloop==0.21.0 ; sys_platform != 'win32' \\\n    --hash=sha256:" + "1" * 64 + "\n"
        "numpy==1.26.4 ; python_version < '3.12'\n"
        "numpy==2.1.0 ; python_version >= '3.12'\n"
        "own @ https://host/files/own_package-1.2.3-py3-none-any.whl\n"
        "odd @ https://host/files/archive\n"
    )
    assert packages(lock) == (
        Package("flask", "3.0.0"),
        Package("uvloop", "0.21.0"),
        Package("numpy", "1.26.4"),
        Package("numpy", "2.1.0"),
        Package("own", "1.2.3"),
        Package("odd", ""),
    )
