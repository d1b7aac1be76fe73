"""`mdeploy scan`, from the bundle to the report and the audit log."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from bundle_place import Told
from modeldeploy import ops
from modeldeploy.bundle import stage
from modeldeploy.bundle.manifest import LOCK, MANIFEST, Manifest
from modeldeploy.bundle.stage import Item
from modeldeploy.bundle.store import BundleStore
from modeldeploy.errors import BundleError, ConfigError
from modeldeploy.model import Level
from modeldeploy.ops.scanning import DATABASE, FIX, ScanReport

LOCKED = f"flask==1.0 \\\n    --hash=sha256:{'0' * 64}\nnumpy==2.1.0 \\\n    --hash=sha256:{'1' * 64}\n"
PROJECT = """
[project]
name = "digits"
version = "1.0.0"
[model]
path = "model.pkl"
[service]
entrypoint = "service:S"
[build]
include = ["*.py"]
[targets.local]
driver = "process"
port = 8080
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose bundle is in the store, and a machine without pip-audit."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "modeldeploy.toml").write_text(PROJECT)
    (folder / "model.pkl").write_bytes(b"")
    (folder / "service.py").write_text("")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(DATABASE, raising=False)
    store({"model.pkl": pickle.dumps({"plain": [1, 2]})})
    return folder


def store(files: dict[str, bytes]) -> None:
    items = [Item.of_bytes(f"src/{name}", content) for name, content in files.items()]
    items.append(Item.of_bytes(LOCK, LOCKED.encode()))
    manifest = Manifest(
        name="digits",
        version="1.0.0",
        framework="custom",
        entrypoint="service:S",
        model=(items[0].file.path,),
        python="3.11",
        lock="sha256:0",
        requirements=(),
        files=tuple(item.file for item in items),
    )
    kept = BundleStore()
    with kept.workspace() as folder:
        stage.write([*items, Item.of_bytes(MANIFEST, manifest.to_bytes())], folder, kept.take)
        kept.add(folder, manifest)


def advisory(package: str, **changes: Any) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": "1.2"}]
    affected = {
        "package": {"ecosystem": "PyPI", "name": package},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }
    return {
        "id": "GHSA-1111-2222-3333",
        "aliases": ["CVE-2026-1"],
        "modified": "2026-11-20T00:00:00Z",
        "summary": "Sessions can be forged.",
        "affected": [affected],
        **changes,
    }


def database(tmp_path: Path, *values: object) -> Path:
    folder = tmp_path / "osv"
    folder.mkdir(exist_ok=True)
    for number, value in enumerate(values):
        (folder / f"{number}.json").write_text(json.dumps(value))
    return folder


def scan(root: Path, path: Path | None = None) -> ScanReport:
    return ops.scan(root, "1.0.0", database=path, emit=Told())


def messages(report: ScanReport, level: Level) -> list[str]:
    return [finding.message for finding in report.findings if finding.level is level]


def test_a_vulnerable_package_fails_the_scan_and_says_what_fixes_it(root: Path, tmp_path: Path) -> None:
    report = scan(root, database(tmp_path, advisory("Flask")))
    assert not report.passed
    (told,) = messages(report, Level.ERROR)
    assert told == (
        "flask 1.0: GHSA-1111-2222-3333 (CVE-2026-1), severity unknown: Sessions can be forged.; fixed in 1.2"
    )
    assert report.findings[0].remedy == FIX == "mdeploy build --upgrade --bump patch"
    assert report.packages == 2
    assert "1 advisory up to 2026-11-20" in report.source


def test_a_sound_bundle_passes(root: Path, tmp_path: Path) -> None:
    report = scan(root, database(tmp_path, advisory("django")))
    assert report.passed
    assert report.vulnerabilities == ()
    assert any("no known vulnerability in 2 packages" in told for told in messages(report, Level.OK))


@pytest.mark.parametrize("name", ["GHSA-1111-2222-3333", "CVE-2026-1"])
def test_what_the_project_ignores_is_told_with_its_reason_under_any_of_its_names(
    root: Path, tmp_path: Path, name: str
) -> None:
    text = PROJECT + f'[scan.ignore]\n{name} = "not served"\nCVE-2020-7 = "old"\n'
    (root / "modeldeploy.toml").write_text(text)
    report = scan(root, database(tmp_path, advisory("flask")))
    assert report.passed
    assert [each.ignored for each in report.vulnerabilities] == ["not served"]
    assert any("CVE-2020-7, which concerns no package" in told for told in messages(report, Level.WARNING))


def test_a_vulnerability_without_a_fix_says_what_is_left_to_do(root: Path, tmp_path: Path) -> None:
    affected = [{"package": {"ecosystem": "PyPI", "name": "flask"}, "versions": ["1.0"]}]
    report = scan(root, database(tmp_path, advisory("flask", affected=affected)))
    assert "there is no fixed version yet" in report.findings[0].message
    assert "[scan.ignore]" in report.findings[0].remedy


@pytest.mark.parametrize("way", ["option", "project", "environment"])
def test_the_database_is_named_in_three_ways(
    root: Path, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database(tmp_path, advisory("flask"))
    if way == "project":
        path.rename(root / "osv")
        (root / "modeldeploy.toml").write_text(PROJECT + '[scan]\ndatabase = "osv"\n')
    elif way == "environment":
        monkeypatch.setenv(DATABASE, str(path))
    assert not scan(root, path if way == "option" else None).passed


def test_an_old_database_and_a_damaged_one_say_so(root: Path, tmp_path: Path) -> None:
    old = advisory("django", modified="2020-01-01T00:00:00Z")
    report = scan(root, database(tmp_path, old, {"id": "nonsense"}))
    told = messages(report, Level.WARNING)
    assert any("days old" in each for each in told)
    assert any("1 files of the database are no advisories" in each for each in told)


def test_a_folder_that_is_no_database_is_not_good_news(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no advisory for Python"):
        scan(root, database(tmp_path))


def test_nobody_to_ask_is_an_error_that_says_what_to_install(root: Path) -> None:
    report = scan(root)
    assert not report.passed
    assert messages(report, Level.ERROR) == ["nobody was asked about vulnerabilities"]
    assert "pip install pip-audit" in report.findings[0].remedy
    assert "--database" in report.findings[0].remedy


def test_a_model_that_runs_code_fails_the_scan_unless_the_project_trusts_it(
    root: Path, tmp_path: Path
) -> None:
    from modeldeploy.bundle.store import remove

    remove(BundleStore().folder)
    store({"model.pkl": b"cos\nsystem\n(S'id'\ntR."})
    path = database(tmp_path, advisory("django"))
    report = scan(root, path)
    assert not report.passed
    assert [each.path for each in report.files] == ["model.pkl"]
    assert messages(report, Level.ERROR) == ["model.pkl: loading it would use os.system"]
    (root / "modeldeploy.toml").write_text(PROJECT + '[scan.trust]\n"model.pkl" = "our own"\n')
    report = scan(root, path)
    assert report.passed
    assert "model.pkl is trusted: our own (loading it would use os.system)" in messages(report, Level.OK)


def test_every_scan_is_an_entry_of_the_audit_log(root: Path, tmp_path: Path) -> None:
    scan(root, database(tmp_path, advisory("flask")))
    entries = [entry for entry in ops.audit(root).entries if entry.kind == "scan"]
    assert [(entry.data["passed"], entry.data["vulnerabilities"]) for entry in entries] == [
        (False, ["GHSA-1111-2222-3333"])
    ]


def pip_audit(tmp_path: Path, text: str, code: int = 0, complaint: str = "") -> Path:
    """A program that is called as pip-audit and writes what it was given, as pip-audit 2 would."""
    path = tmp_path / "bin" / "pip-audit"
    (tmp_path / "answer.json").write_text(text)
    path.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = --version ]; then echo "pip-audit 2.9.0"; exit 0; fi\n'
        f"echo \"$@\" > '{tmp_path}/asked'\n"
        f"/bin/cat '{tmp_path}/answer.json'\n"
        f"echo '{complaint}' >&2\nexit {code}\n"
    )
    path.chmod(0o755)
    return tmp_path / "asked"


ANSWER = {
    "dependencies": [
        {
            "name": "flask",
            "version": "1.0",
            "vulns": [
                {
                    "id": "PYSEC-2026-1",
                    "fix_versions": ["1.2"],
                    "aliases": ["CVE-2026-1", "GHSA-1111-2222-3333"],
                    "description": "Sessions can\nbe forged.",
                }
            ],
        },
        {"name": "numpy", "version": "2.1.0", "vulns": []},
        {"name": "own", "skip_reason": "not on the index"},
    ],
    "fixes": [],
}


def test_without_a_database_pip_audit_is_asked(root: Path, tmp_path: Path) -> None:
    asked = pip_audit(tmp_path, json.dumps(ANSWER) + "\n", code=1)
    report = scan(root)
    assert report.source == "pip-audit 2.9.0"
    assert [(each.id, each.fixed) for each in report.vulnerabilities] == [("PYSEC-2026-1", "1.2")]
    assert not report.passed
    assert "--require-hashes --disable-pip --format json" in asked.read_text()
    assert any("own was not looked at: not on the index" in told for told in messages(report, Level.WARNING))


def test_pip_audit_that_looked_at_nothing_is_no_good_news(root: Path, tmp_path: Path) -> None:
    """It says "No known vulnerabilities found" and ends with 0 where the index has no advisories at all."""
    reason = "Dependency not found on PyPI and could not be audited: flask (1.0)"
    answer = {"dependencies": [{"name": "flask", "skip_reason": reason}], "fixes": []}
    pip_audit(tmp_path, json.dumps(answer) + "\n")
    with pytest.raises(BundleError, match="could look at none of the packages: Dependency not found"):
        scan(root)


@pytest.mark.parametrize(
    "answer", ["{}", "[1]", '{"dependencies": [7]}', '{"dependencies": [{"vulns": [{}]}]}']
)
def test_an_answer_of_pip_audit_that_is_none_is_no_good_news(root: Path, tmp_path: Path, answer: str) -> None:
    pip_audit(tmp_path, answer + "\n")
    with pytest.raises(BundleError, match="does not understand"):
        scan(root)


def test_pip_audit_that_fails_is_told_with_its_last_line(root: Path, tmp_path: Path) -> None:
    pip_audit(tmp_path, "", code=1, complaint="ERROR: connection refused")
    with pytest.raises(BundleError, match="connection refused"):
        scan(root)
