"""What people do wrong, and what they are told."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from modeldeploy.config.load import load
from modeldeploy.errors import ConfigError

Refused = Callable[[str], ConfigError]

PROJECT = '[project]\nname = "digits"\nversion = "1.0.0"\n'
MODEL = '[model]\npath = "model.onnx"\n'
TARGET = '[targets.local]\ndriver = "process"\nport = 8080\n'
BEGIN = PROJECT + MODEL + TARGET  # eight lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            BEGIN + "[targets.local.rollout]\nstratgy = 1",
            "10: targets.local.rollout.stratgy: unknown key; expected one of drain_timeout, gates, keep, ",
        ),
        (
            BEGIN + "[targets.local.rollout]\nstratgy = 1",
            "on_interrupt, ready_timeout, soak, steps, strategy; did you mean 'strategy'?",
        ),
        (BEGIN + 'p95 = "5ms"', "9: targets.local.p95: unknown key; "),
        (BEGIN + 'p95 = "5ms"', "did you mean 'targets.local.rollout.gates.p95'?"),
        (
            BEGIN + "[taget.local]",
            "9: taget: unknown key; expected one of build, env, image, metadata, model, models, policy, ",
        ),
        (BEGIN + "[taget.local]", "did you mean 'targets'?"),
        ("[project]\n" + MODEL, "1: project.name: missing; expected at most 63 lowercase letters"),
        (
            "\n\n[project]\n" + MODEL,
            "3: project.version: missing; expected at most 64 letters, digits, dots",
        ),
        (PROJECT, "1: model.path: missing; expected a path inside the project's folder"),
        (
            'project = "digits"\n' + MODEL,
            '1: project: "digits" is text; expected a table with name and version',
        ),
        (MODEL + '[project]\nname = "My Digits"\nversion = "1"', "did you mean 'my-digits'?"),
        (
            MODEL + '[project]\nname = "a"\nversion = 1.0',
            "5: project.version: 1.0 is a number with a fraction; expected text in quotes: ",
        ),
        (
            MODEL + '[project]\nname = "a"\nversion = "1 2"',
            '5: project.version: "1 2": not a version; expected at most 64',
        ),
        (MODEL + '[project]\nname = "a"\nversion = "latest"', "no version can be called that"),
        (MODEL + f'[project]\nname = "{"a" * 64}"\nversion = "1"', "not a name"),
        (
            PROJECT + '[model]\npath = "modle.onnx"',
            "5: model.path: there is no file modle.onnx; expected a file in",
        ),
        (PROJECT + '[model]\npath = "/etc/passwd"', "leads out of the project's folder"),
        (PROJECT + '[model]\npath = "x/../../y"', "leads out of the project's folder by '..'"),
        (PROJECT + '[model]\npath = "a\\\\b.onnx"', "did you mean 'a/b.onnx'?"),
        (PROJECT + '[model]\npath = "."', "5: model.path: . is a folder; expected a file"),
        (
            PROJECT + '[model]\npath = "model.onnx"\nframework = "onx"',
            '6: model.framework: "onx" is not known; expected one of "onnx", "sklearn", "xgboost"',
        ),
        (
            PROJECT + '[model]\npath = "model.onnx"\ntolerance = { rtol = nan }',
            "6: model.tolerance.rtol: nan is out of range; expected a number from 0 to 1",
        ),
        (
            PROJECT + '[model]\npath = "model.onnx"\ntolerance = 0.1',
            "6: model.tolerance: 0.1 is a number with a fraction; expected a table",
        ),
        (
            BEGIN + "[build]\npython = 3.11",
            "10: build.python: 3.11 is a number with a fraction; expected text in quotes: a Python version",
        ),
        (BEGIN + '[build]\npython = "3.9"', '"3.9": not a Python version that a bundle can have'),
        (
            BEGIN + '[build]\ninclude = [\n"*.py",\n"../*"]',
            '12: build.include[1]: "../*": leads out of the project\'s folder',
        ),
        (
            BEGIN + '[build]\ninclude = "*.py"',
            '10: build.include: "*.py" is text; expected a list in brackets, each a file pattern',
        ),
        (BEGIN + '[build]\nrequirements = ["--index-url x"]', "options of an installer are no requirements"),
        (BEGIN + '[build]\nrequirements = ["a\\nb"]', "not a requirement"),
        (
            BEGIN + '[service]\nentrypoint = "service.Digits"',
            '"service.Digits": not an entry point; expected a module and a BentoML',
        ),
        (
            BEGIN + '[service]\nentrypoint = "service:Digits"',
            "10: service.entrypoint: there is no file service.py",
        ),
        (
            PROJECT + MODEL + '[targets]\ndriver = "process"',
            '7: targets.driver: "process" is text; expected a table with driver and port; did',
        ),
        (
            PROJECT + MODEL + '[targets."My Place"]\ndriver = "process"\nport = 1',
            '6: targets."My Place": not a name; expected at most 63',
        ),
        (
            PROJECT + MODEL + '[targets.local]\ndriver = "proces"',
            "\"proces\": no such driver; expected one of process; did you mean 'process'?",
        ),
        (
            PROJECT + MODEL + "[targets.local]\nport = 1",
            '6: targets.local.driver: missing; expected "process"',
        ),
        (
            PROJECT + MODEL + '[targets.local]\ndriver = "process"',
            "6: targets.local.port: missing; expected a whole number from 1 to 65535, such as 8080",
        ),
        (
            PROJECT + MODEL + '[targets.local]\ndriver = "process"\nport = 0',
            "8: targets.local.port: 0: with 0 the system would pick any free port",
        ),
        (
            PROJECT + MODEL + '[targets.local]\ndriver = "process"\nport = 70000',
            "70000: there is no such port",
        ),
        (
            PROJECT + MODEL + '[targets.local]\ndriver = "process"\nport = "80"',
            '"80" is text; expected a whole number from 1 to 65535',
        ),
        (
            BEGIN + "replicas = 65",
            "9: targets.local.replicas: 65 is out of range; expected a whole number from 1 to 64",
        ),
        (BEGIN + "replicas = true", "true is a boolean"),
        (BEGIN + 'host = "localhost"', "did you mean '127.0.0.1'?"),
        (BEGIN + 'envoy = "bin/envoy"', "9: targets.local.envoy: there is no file bin/envoy"),
        (
            BEGIN + 'rollout.strategy = "shadow"',
            '"shadow" is not known; expected one of "rolling", "blue-green", "canary"',
        ),
        (BEGIN + 'rollout.strategy = "blue_green"', "did you mean 'blue-green'?"),
        (BEGIN + "rollout.steps = []", "a canary needs at least one step"),
        (BEGIN + "rollout.steps = [50, 100]", "100 is not a step of its own: it follows by itself"),
        (BEGIN + "rollout.steps = [0, 50]", "stable has the rest, so that the two add up to 100"),
        (
            BEGIN + "rollout.steps = [60, 40]",
            (
                "40 comes after 60, but each step is the candidate's whole share in percent (stable has "
                "the rest, so that the two add up to 100) and must be higher than the one before; expected "
                "ascending whole numbers from 1 to 99, such as [5, 25, 50]"
            ),
        ),
        (BEGIN + "rollout.steps = [5, 5]", "5 comes after 5"),
        (
            BEGIN + "rollout.steps = [5, 5.5]",
            "9: targets.local.rollout.steps[1]: 5.5 is a number with a fraction",
        ),
        (
            BEGIN + "rollout.soak = 10",
            "10: a bare number has no unit; expected a duration such as",
        ),
        (BEGIN + 'rollout.soak = "0s"', "a duration must be more than 0"),
        (BEGIN + "rollout.keep = 11", "11 is out of range; expected a whole number from 0 to 10"),
        (BEGIN + 'rollout.on_interrupt = "stop"', 'expected one of "rollback", "hold"'),
        (BEGIN + "rollout.gates.error_rate = 1.5", "1.5 is out of range; expected a number from 0 to 1"),
        (BEGIN + "rollout.gates.max_p95_ratio = 0.5", "0.5 is out of range; expected a number of at least 1"),
        (
            BEGIN + "rollout.gates.min_requests = 0",
            "0 is out of range; expected a whole number from 1 to 1,000,000",
        ),
        (BEGIN + 'rollout.gates.golden = "yes"', '"yes" is text; expected true or false'),
        (
            BEGIN + "env.A-B = ''",
            "9: targets.local.env.A-B: not the name of an environment variable; expected a variable's name",
        ),
        (BEGIN + "env.A = 5", "9: targets.local.env.A: the value is a whole number; expected text in quotes"),
        (BEGIN + 'env.A = "\\u0000"', "the value holds a zero byte"),
    ],
)
def test_a_mistake_is_told_with_line_key_and_what_was_expected(
    refused: Refused, text: str, message: str
) -> None:
    assert message in refused(text).message


def test_one_problem_is_one_line_that_an_editor_can_jump_to(refused: Refused) -> None:
    error = refused(BEGIN + "replica = 2")
    assert error.message == (
        "modeldeploy.toml:9: targets.local.replica: unknown key; expected one of driver, env, envoy, host, "
        "port, replicas, rollout; did you mean 'replicas'?"
    )
    assert error.exit_code == 3


def test_all_problems_are_told_at_once_in_the_order_of_the_file(refused: Refused) -> None:
    error = refused(
        BEGIN + 'replicas = 0\nenvoy = "x/y"\n[model.tolerance]\nrtl = 1\n[targets.b]\ndriver = "process"'
    )
    lines = error.message.splitlines()
    assert lines[0] == "modeldeploy.toml has 4 problems:"
    assert [line.split(": ")[1] for line in lines[1:]] == [
        "targets.local.replicas",
        "targets.local.envoy",
        "model.tolerance.rtl",
        "targets.b.port",
    ]


def test_of_very_many_problems_the_first_are_told(refused: Refused) -> None:
    error = refused(BEGIN + "\n".join(f"x{number} = 1" for number in range(80)))
    lines = error.message.splitlines()
    assert lines[0] == "modeldeploy.toml has 80 problems:"
    assert len(lines) == 52
    assert lines[-1] == "  and 30 more"


def test_details_hold_the_same_for_programs(refused: Refused) -> None:
    assert refused(BEGIN + "rollout.stratgy = 1").details == {
        "problems": [
            {
                "file": "modeldeploy.toml",
                "line": 9,
                "key": "targets.local.rollout.stratgy",
                "message": "unknown key",
                "expected": "one of drain_timeout, gates, keep, on_interrupt, ready_timeout, soak, "
                "steps, strategy",
                "nearest": "strategy",
            }
        ]
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PROJECT + "[model]\npath = model.onnx\n",
            "modeldeploy.toml:5:8: not valid TOML: Invalid value\n    path = model.onnx\n           ^",
        ),
        (
            PROJECT + "[model\npath = 'x'\n",
            (
                "modeldeploy.toml:4:7: not valid TOML: Expected ']' at the end of a table declaration"
                "\n    [model\n          ^"
            ),
        ),
        (
            "a = 1\na = 2",
            "modeldeploy.toml:2: not valid TOML: Cannot overwrite a value\n    a = ***",
        ),
        ("a = " + "1" * 5000, "modeldeploy.toml:1: not valid TOML: a number has too many digits"),
        ("a = " + "[" * 5000, "modeldeploy.toml: nested too deeply; expected at most five levels"),
        ("a" + ".a" * 5000 + " = 1", "modeldeploy.toml: a key has more than 16 parts; expected at most five"),
        (
            '["a"' + " . 'a'" * 5000 + "]",
            "modeldeploy.toml: a key has more than 16 parts; expected at most five",
        ),
        (
            "a = {" + ".".join("a" * 20) + " = 1}",
            "modeldeploy.toml: a key has more than 16 parts; expected at most five",
        ),
    ],
)
def test_bad_syntax_is_shown_with_line_and_column(refused: Refused, text: str, message: str) -> None:
    error = refused(text)
    assert error.message == message
    assert error.exit_code == 3


def test_many_dots_in_a_text_are_no_long_key(refused: Refused) -> None:
    assert (
        "model.path: there is no file"
        in refused(PROJECT + f'[model]\npath = "{".".join("a" * 40)}" # {"a." * 40}').message
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xef\xbb\xbf[project]", "modeldeploy.toml:1: begins with a byte-order mark; expected plain UTF-8"),
        (
            "[project]".encode("utf-16"),
            "modeldeploy.toml:1: begins with a byte-order mark; expected plain UTF-8",
        ),
        (b"[project]\nname = '\xe9'", "modeldeploy.toml:2: byte 0xe9 is not UTF-8; expected plain UTF-8"),
        (b"#" * 1_000_001, "cannot read modeldeploy.toml: it is larger than 1 MB, which no project file is"),
        (b"", "modeldeploy.toml has 2 problems:"),
        (b"\x00", "modeldeploy.toml:1:1: not valid TOML: Invalid statement"),
    ],
)
def test_a_file_that_is_no_project_file_is_refused(folder: Path, content: bytes, message: str) -> None:
    (folder / "modeldeploy.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert caught.value.message.startswith(message)


def test_a_missing_file_leads_to_init(folder: Path) -> None:
    for place, words in (
        (folder, "there is no modeldeploy.toml in"),
        (folder / "x" / "y", "there is no folder"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            load(place)
        assert caught.value.hint == "mdeploy init"


def test_the_file_itself_is_not_its_folder(good: Path) -> None:
    with pytest.raises(ConfigError, match="is a file; expected the folder that holds") as caught:
        load(good / "modeldeploy.toml")
    assert caught.value.hint == f"--project '{good}'"


def test_folders_pipes_and_loops_of_links_are_refused_at_once(folder: Path) -> None:
    path = folder / "modeldeploy.toml"
    path.mkdir()
    with pytest.raises(ConfigError, match=r"cannot read modeldeploy.toml: it is not a file"):
        load(folder)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=r"cannot read modeldeploy.toml: it is not a file"):
        load(folder)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(ConfigError, match=r"cannot read modeldeploy.toml: Too many levels of symbolic links"):
        load(folder)


def test_a_link_out_of_the_project_is_refused(folder: Path, refused: Refused) -> None:
    (folder / "passwd.onnx").symlink_to("/etc/hosts")
    assert (
        "model.path: passwd.onnx is a link that leads out of the project's folder"
        in refused(PROJECT + '[model]\npath = "passwd.onnx"').message
    )
    (folder / "gone.onnx").symlink_to("nowhere")
    assert (
        "gone.onnx is a link to a file that is not there"
        in refused(PROJECT + '[model]\npath = "gone.onnx"').message
    )


def test_your_own_service_needs_its_code_in_the_bundle(folder: Path, refused: Refused) -> None:
    (folder / "service.py").touch()
    message = refused(BEGIN + '[service]\nentrypoint = "service:Digits"').message
    assert message == (
        "modeldeploy.toml:1: build.include: the code of your service is not in the bundle; "
        'expected patterns such as ["*.py"]'
    )


def test_an_envoy_that_may_not_be_run_is_refused(folder: Path, refused: Refused) -> None:
    (folder / "envoy").touch(mode=0o600)
    assert (
        "./envoy may not be run; expected a program (chmod +x './envoy' makes it one)"
        in refused(BEGIN + 'envoy = "./envoy"').message
    )
