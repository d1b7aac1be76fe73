"""Where an image is written to: a file or a folder of its own, told before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeldeploy.errors import ConfigError
from modeldeploy.image.output import insist_on_place


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("full", "holds other files"),
        ("full/notes.md", "is a file, and an OCI layout is a folder"),
        ("folder.tar", "is a folder, and an archive is a file"),
        ("digits.tar.gz", "written as FILE.tar"),
        ("digits.tgz", "written as FILE.tar"),
    ],
)
def test_a_place_that_is_taken_is_refused(name: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.md").write_text("mine")
    (tmp_path / "folder.tar").mkdir()

    with pytest.raises(ConfigError, match=told) as caught:
        insist_on_place(tmp_path / name)

    assert caught.value.hint


@pytest.mark.parametrize("name", ["new", "empty", "layout", "new.tar", "old.tar"])
def test_a_new_place_an_empty_folder_and_an_older_image_are_taken(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "layout").mkdir()
    (tmp_path / "layout" / "oci-layout").write_text("{}")
    (tmp_path / "old.tar").write_text("an image")

    insist_on_place(tmp_path / name)
