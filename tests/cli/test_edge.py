"""The edge: one place where an exception becomes a message, a hint and an exit code."""

from __future__ import annotations

import errno
import json
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Type
from modeldeploy import errors, ops
from modeldeploy.cli import crash
from modeldeploy.errors import (
    BundleError,
    ConfigError,
    LockHeld,
    ModelDeployError,
    PreflightError,
    RolloutHeld,
    RolloutRejected,
    RolloutStuck,
    TargetDrifted,
    TargetRefused,
    TargetUnavailable,
)
from modeldeploy.model import Finding, Level

Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, project: Path) -> Callable[[BaseException], None]:
    """Makes `status` raise."""

    def arrange(error: BaseException) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(ops, "status", fail)

    return arrange


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ModelDeployError, 1),
        (ConfigError, 3),
        (BundleError, 4),
        (PreflightError, 5),
        (TargetUnavailable, 6),
        (TargetRefused, 6),
        (TargetDrifted, 6),
        (LockHeld, 7),
        (RolloutRejected, 10),
        (RolloutHeld, 11),
        (RolloutStuck, 12),
    ],
)
def test_each_error_has_its_exit_code_and_name(
    mdeploy: Type, failing: Callable[[BaseException], None], kind: type[ModelDeployError], code: int
) -> None:
    failing(kind("it went wrong", hint="mdeploy doctor"))

    assert mdeploy("status").code == code
    told = json.loads(mdeploy("status", "--json").out)
    assert told["error"] == {
        "kind": kind.__name__,
        "message": "it went wrong",
        "hint": "mdeploy doctor",
        "exit_code": code,
        "details": {},
    }


def test_an_error_s_own_subclass_is_told_by_the_name_that_is_documented(
    mdeploy: Type, failing: Callable[[BaseException], None]
) -> None:
    class VerySpecial(TargetRefused):
        pass

    failing(VerySpecial("no"))

    assert json.loads(mdeploy("status", "--json").out)["error"]["kind"] == "TargetRefused"


def test_a_rejection_shows_the_numbers_the_log_and_the_next_command(
    mdeploy: Type, failing: Callable[[BaseException], None]
) -> None:
    measure = {"gate": "error_rate", "candidate": 0.198, "stable": 0.001, "limit": 0.01, "unit": "share"}
    failing(
        RolloutRejected(
            "1.1.0-3f2a failed: error_rate 19.8 %\nof the traffic 1.0.0-9b1c has 100 %",
            hint="mdeploy logs local",
            details={
                "gate": "error_rate",
                "measures": [{**measure, "verdict": "fail", "note": ""}],
                "log": ["ValueError: \x1b[31mno such digit"],
            },
        )
    )

    assert mdeploy("status").err.splitlines() == [
        "error: 1.1.0-3f2a failed: error_rate 19.8 %",
        "       of the traffic 1.0.0-9b1c has 100 %",
        "",
        "  GATE        CANDIDATE  STABLE   LIMIT  VERDICT",
        "  error rate     19.8 %   0.1 %  <= 1 %  fail",
        "",
        "  last log lines:",
        "  | ValueError: no such digit",
        "try: mdeploy logs local",
    ]


def test_findings_come_with_their_remedies(mdeploy: Type, failing: Callable[[BaseException], None]) -> None:
    finding = Finding("port", Level.ERROR, "8080 is taken", "choose another", "modeldeploy.toml:12")
    failing(PreflightError("the target cannot be used", findings=[finding]))

    assert mdeploy("status").err.splitlines() == [
        "error: the target cannot be used",
        "✗  error    port  8080 is taken (modeldeploy.toml:12)",
        "                  try: choose another",
    ]
    told = json.loads(mdeploy("status", "--json").out)["error"]["details"]["findings"]
    assert told[0]["remedy"] == "choose another"


def test_a_held_lock_says_since_when(mdeploy: Type, failing: Callable[[BaseException], None]) -> None:
    failing(LockHeld("ada is changing this target", details={"since": time.time() - 190, "owner": "ada"}))

    assert "(3 min ago)" in mdeploy("status").err


def test_a_bug_leaves_a_traceback_file_without_the_values_of_variables(
    mdeploy: Type, monkeypatch: pytest.MonkeyPatch, project: Path, home: Path
) -> None:
    def broken(*_: object) -> None:
        password = "hunter2"  # noqa: F841 - is not to be found in the file
        raise KeyError("unexpected")

    monkeypatch.setattr(ops, "status", broken)

    typed = mdeploy("status")

    assert typed.code == 1
    assert "this is a bug in mdeploy: KeyError" in typed.err
    (path,) = (home / "crashes").glob("*.txt")
    assert str(path) in typed.err
    assert "hunter2" not in path.read_text().replace('password = "hunter2"', "")
    assert "in broken" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_bug_is_told_even_where_nothing_can_be_written(
    mdeploy: Type, failing: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MDEPLOY_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(tmp_path / "gone"))
    failing(ZeroDivisionError())

    typed = mdeploy("status")

    assert typed.code == 1
    assert "this is a bug in mdeploy: ZeroDivisionError\n" in typed.err


def test_only_the_newest_traceback_files_stay(home: Path) -> None:
    for number in range(25):
        assert crash.record(ValueError(number), ["status"])
        (newest,) = (path for path in (home / "crashes").glob("2*.txt") if str(number) in path.read_text())
        newest.rename(newest.with_name(f"0000{number:02}.txt"))

    assert len(list((home / "crashes").iterdir())) <= crash.KEEP + 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_refusal_of_the_machine_is_no_bug(
    mdeploy: Type, failing: Callable[[BaseException], None], home: Path, number: int
) -> None:
    failing(OSError(number, "No way", "/some/file"))

    typed = mdeploy("status")

    assert typed.code == 1
    assert typed.err == "error: /some/file: No way\n"
    assert not (home / "crashes").exists()


def test_ctrl_c_is_130_and_no_traceback(mdeploy: Type, failing: Callable[[BaseException], None]) -> None:
    failing(KeyboardInterrupt())

    typed = mdeploy("status")

    assert typed.code == 130
    assert typed.err == "error: interrupted\n"


@pytest.mark.parametrize("typed", ["push digits:1.0.0 --to './my registry'", "pull @prod", "image", "lock"])
def test_ctrl_c_in_what_goes_on_when_it_is_typed_again_says_so(
    typed: str, mdeploy: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    words = shlex.split(typed)
    monkeypatch.setattr(ops, words[0], interrupted)

    stopped = mdeploy(*words)

    assert stopped.code == 130
    assert stopped.err == f"error: interrupted\ntry: mdeploy {typed}    (it goes on where it ended)\n"


def test_every_error_of_the_tree_is_in_the_reference() -> None:
    described = Path(__file__).parents[2].joinpath("docs/reference/exit-codes.md").read_text("utf-8")

    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, ModelDeployError):
            assert f"`{name}`" in described, name


def test_a_reader_that_leaves_early_is_no_error(shell: Shell) -> None:
    done = shell("set -o pipefail; mdeploy --help | true; mdeploy completion bash | head -1; echo $?")

    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


def test_a_full_device_is_told_and_is_not_success(shell: Shell) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = shell("mdeploy completion bash > /dev/full")

    assert done.returncode == 1
    assert "cannot write its answer: No space left on device" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_do_no_harm(shell: Shell, closed: str) -> None:
    assert shell(f"mdeploy completion bash {closed}").returncode == 0
    done = shell(f"mdeploy nonsense {closed}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_predict_from_a_closed_standard_input_says_so(shell: Shell) -> None:
    done = shell("mdeploy predict --input - <&-")

    assert done.returncode == 3
    assert "standard input, which is closed" in done.stderr


def test_a_terminal_that_is_not_utf_8_gets_ascii_signs(shell: Shell) -> None:
    done = shell("mdeploy 'Prüfung ✗'", PYTHONIOENCODING="ascii", LC_ALL="C")

    assert done.returncode == 2
    assert "mdeploy has no command 'Pr?fung ?'" in done.stderr
