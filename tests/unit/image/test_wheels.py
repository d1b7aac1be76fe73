from __future__ import annotations

from pathlib import Path

import pytest

from image_place import write_wheel
from modeldeploy.errors import BundleError
from modeldeploy.image.wheels import distributions


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    write_wheel(folder, "Some_Thing", files={"thing/__init__.py": b"x = 1\n", "thing/run.sh": b"#!/bin/sh\n"})
    return folder


def test_scripts_and_what_the_installer_tells_of_itself_are_left_out(site: Path) -> None:
    (found,) = distributions(site)
    assert (found.name, found.version, found.licence, found.pure) == ("some-thing", "1.0", "MIT", True)
    info = "Some_Thing-1.0.dist-info"
    assert [entry.path for entry in found.entries] == [
        f"{info}/METADATA",
        f"{info}/RECORD",
        f"{info}/WHEEL",
        "thing/__init__.py",
        "thing/run.sh",
    ]


def test_record_is_made_anew_and_lists_just_what_is_left(site: Path) -> None:
    (found,) = distributions(site)
    record = next(entry.source for entry in found.entries if entry.path.endswith("RECORD"))
    assert isinstance(record, bytes)
    lines = record.decode().splitlines()
    assert [line.split(",")[0] for line in lines] == [entry.path for entry in found.entries]
    assert "Some_Thing-1.0.dist-info/RECORD,," in lines


def test_another_installer_gives_the_same(site: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_wheel(other, "Some_Thing", files={"thing/__init__.py": b"x = 1\n", "thing/run.sh": b"#!/bin/sh\n"})
    info = other / "Some_Thing-1.0.dist-info"
    (info / "INSTALLER").write_bytes(b"pip")
    (info / "REQUESTED").unlink()
    rows = [
        line for line in (info / "RECORD").read_text().splitlines(keepends=True) if "REQUESTED" not in line
    ]
    (info / "RECORD").write_text("".join(reversed(rows)).replace("bin/", "../../bin/"))
    (info / "RECORD").chmod(0o755)
    (other / "bin/Some_Thing").write_text("#!/another/python\n")
    (other / ".lock").touch()
    assert [each.key for each in distributions(other)] == [each.key for each in distributions(site)]


def test_the_executable_bit_counts_and_no_other(site: Path) -> None:
    (before,) = distributions(site)
    (site / "thing/__init__.py").chmod(0o600)
    assert distributions(site)[0].key == before.key
    (site / "thing/run.sh").chmod(0o700)
    assert distributions(site)[0].key != before.key


def test_a_wheel_for_one_platform_is_not_pure(tmp_path: Path) -> None:
    write_wheel(tmp_path, "fast", files={"fast.so": b"elf"}, tag="cp311-cp311-manylinux_2_28_x86_64")
    assert not distributions(tmp_path)[0].pure


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside.py", "thing/../../outside.py"])
def test_a_record_that_leads_out_of_the_folder_is_not_followed(site: Path, path: str) -> None:
    record = site / "Some_Thing-1.0.dist-info/RECORD"
    record.write_text(f"{path},,\n{record.read_text()}")
    assert path not in [entry.path for entry in distributions(site)[0].entries]


def test_a_link_in_a_package_is_refused(site: Path) -> None:
    (site / "thing/run.sh").unlink()
    (site / "thing/run.sh").symlink_to("/etc/passwd")
    with pytest.raises(BundleError, match=r"run\.sh is not a file"):
        distributions(site)


def test_a_package_without_metadata_is_refused(site: Path) -> None:
    (site / "Some_Thing-1.0.dist-info/METADATA").unlink()
    with pytest.raises(BundleError, match="not as a wheel must be"):
        distributions(site)
