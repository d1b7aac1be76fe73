"""What each command takes, in words and in types. Loads none of what the commands do."""

from __future__ import annotations

import argparse

from modeldeploy.cli.completion import bundles, completes_with, targets
from modeldeploy.cli.parser import Parser, one_of, whole_number

STRATEGIES = ("canary", "blue-green", "rolling")
SHELLS = ("bash", "zsh", "fish")

_WHAT_A_ROLLOUT_ENDS_WITH = (3, 4, 5, 6, 7, 10, 11, 12, 130)


def parser_for(command: str) -> Parser:
    """The parser of one command."""
    parser = Parser(command)
    _ARGUMENTS[command](parser)
    _common(parser)
    return parser


def _common(parser: Parser) -> None:
    add = parser.common.add_argument
    add(
        "--project",
        metavar="DIR",
        help="the folder with modeldeploy.toml; otherwise this folder, or the nearest above it that has one",
    )
    add("--json", action="store_true", help="print JSON lines: events, then one result or error")
    add("--plain", action="store_true", help="no colour, and lines instead of a live view")
    add("-h", "--help", action="store_true", help="print this")


def _target(parser: Parser, *, without: str = "may be left out where there is only one") -> None:
    completes_with(
        targets,
        parser.add_argument("target", metavar="TARGET", nargs="?", help=f"a target's name; {without}"),
    )


def _bundle(parser: Parser) -> None:
    completes_with(
        bundles,
        parser.add_argument(
            "bundle",
            metavar="BUNDLE",
            nargs="?",
            help="NAME:VERSION, VERSION or sha256:DIGEST; otherwise the project as it is now",
        ),
    )


def _strategy(parser: Parser) -> None:
    completes_with(
        lambda **_: STRATEGIES,
        parser.add_argument(
            "--strategy",
            metavar="NAME",
            type=one_of(*STRATEGIES),
            help=f"{', '.join(STRATEGIES)}; otherwise the project file's",
        ),
    )


def _init(parser: Parser) -> None:
    parser.describe(
        """Makes a folder with a project that works at once: a modeldeploy.toml, a small real model and a
        request to try it with. Refuses to write over files that are there.""",
        [
            ("mdeploy init", "a project in this folder"),
            ("mdeploy init digits --template onnx", "a project in the new folder digits"),
        ],
        (3,),
    )
    parser.add_argument("folder", metavar="FOLDER", nargs="?", help="where to make it; otherwise this folder")
    parser.add_argument(
        "--template", metavar="NAME", default="onnx", help="what to start from; otherwise onnx"
    )
    parser.add_argument(
        "--name", metavar="NAME", help="the project's name; otherwise FOLDER's, or the template's"
    )


def _check(parser: Parser) -> None:
    parser.describe(
        """Reads modeldeploy.toml, the model and the files it names, and looks at the tools and targets
        that they need. Each problem comes with file and line and what to do about it. Changes nothing.""",
        [("mdeploy check", ""), ("mdeploy check --json", "the findings as JSON")],
        (3, 5),
    )


def _doctor(parser: Parser) -> None:
    parser.describe(
        """Looks at this machine: Python, Envoy, uv, mdeploy's own folder, its targets. Works without a
        project, too. Changes nothing.""",
        [("mdeploy doctor", "")],
        (5,),
    )


def _lock(parser: Parser) -> None:
    parser.describe(
        """Writes modeldeploy.lock: every package that the bundle will need, with its version and hashes.
        `build` does this by itself where there is no lock or the requirements have changed.""",
        [
            ("mdeploy lock", "what changed in the requirements"),
            ("mdeploy lock --upgrade", "the newest of all"),
        ],
        (3, 4),
    )
    parser.add_argument(
        "--upgrade", action="store_true", help="take the newest versions that the requirements allow"
    )


def _build(parser: Parser) -> None:
    parser.describe(
        """Makes a bundle: a BentoML Bento with the model, its code, its locked dependencies, its signature
        and its golden samples. The same inputs give the same digest, and an unchanged project is not
        built again.

        A version never changes: where it exists with other content, mdeploy refuses and says which part
        differs.""",
        [
            ("mdeploy build", "digits:1.0.0  sha256:..."),
            ("mdeploy build --bump patch", "the same as 1.0.1, written to the project file"),
        ],
        (3, 4),
    )
    completes_with(
        lambda **_: ("patch", "minor", "major"),
        parser.add_argument(
            "--bump",
            metavar="PART",
            type=one_of("patch", "minor", "major"),
            help="first raise project.version: patch, minor or major",
        ),
    )
    parser.add_argument(
        "--upgrade", action="store_true", help="first lock the newest versions of the requirements"
    )


def _test(parser: Parser) -> None:
    parser.describe(
        """Starts the bundle on this machine, waits until it is ready, replays its golden samples, checks
        that a bad request is refused, and stops it. Touches no target.""",
        [("mdeploy test", "the project as it is now"), ("mdeploy test digits:1.0.0", "this one")],
        (3, 4, 5),
    )
    _bundle(parser)


def _golden(parser: Parser) -> None:
    parser.describe(
        """Runs the model on inputs and writes inputs and outputs to the file that model.golden names.
        Every copy of the bundle must reproduce them within model.tolerance, on every machine, before it
        gets a request.""",
        [
            ("mdeploy golden --samples inputs.npz", "your own inputs: the best choice"),
            ("mdeploy golden --count 32", "inputs made up from the signature"),
        ],
        (3, 4),
    )
    parser.add_argument(
        "--samples",
        metavar="FILE",
        help="inputs to use, .npz or .json, one array per input; otherwise made up",
    )
    parser.add_argument(
        "--count", metavar="N", type=whole_number(1), help="how many samples to make up; otherwise 20"
    )


def _plan(parser: Parser) -> None:
    parser.describe(
        """Reads the target and prints the steps that `deploy` would take, and how traffic would move.
        Changes nothing. The exit code tells nothing to do (0) from something to do (8).""",
        [
            ("mdeploy plan local", ""),
            ("mdeploy plan local digits:1.0.0", "what deploying this one would do"),
        ],
        (8, 3, 4, 6),
    )
    _target(parser)
    _bundle(parser)


def _deploy(parser: Parser) -> None:
    parser.describe(
        """Starts the bundle beside the one that serves, replays its golden samples, moves traffic step by
        step while the gates hold, and promotes it. A gate that fails gives all traffic back. The old
        revision stays warm, so that `rollback` takes an instant.

        Ctrl-C finishes the step and rolls back (or holds: rollout.on_interrupt). A second Ctrl-C stops
        at once; `resume` or `abort` then goes on from there.""",
        [
            ("mdeploy deploy local", "the project as it is now"),
            ("mdeploy deploy local digits:1.0.0", "an older one"),
            ("mdeploy deploy local --strategy blue-green", "all traffic at once, after the checks"),
        ],
        _WHAT_A_ROLLOUT_ENDS_WITH,
    )
    _target(parser)
    _bundle(parser)
    _strategy(parser)


def _predict(parser: Parser) -> None:
    parser.describe(
        """Sends the input to the target's endpoint and prints the answer. The revision that answered goes
        to standard error, with the time it took.""",
        [
            ("mdeploy predict local --input samples.json", ""),
            ("echo '{...}' | mdeploy predict --input -", "from standard input"),
        ],
        (3, 6),
    )
    _target(parser)
    parser.add_argument(
        "--input", metavar="FILE", required=True, help="the request's body, JSON; - is standard input"
    )
    parser.add_argument(
        "--path", metavar="PATH", default="/predict", help="where to send it; otherwise /predict"
    )


def _status(parser: Parser) -> None:
    parser.describe(
        """Reads each target itself: its endpoint, its revisions with their state and weight, the rollout
        in progress and what is out of order. Without a target: all of them.""",
        [("mdeploy status", ""), ("mdeploy status local --json", "endpoint, revisions, rollout as JSON")],
        (3, 6),
    )
    _target(parser, without="otherwise all of them")


def _history(parser: Parser) -> None:
    parser.describe(
        "Lists rollouts and rollbacks, the newest first: when, by whom, how they ended and why.",
        [("mdeploy history local", ""), ("mdeploy history local --limit 100", "")],
        (3, 6),
    )
    _target(parser)
    parser.add_argument(
        "--limit", metavar="N", type=whole_number(1), default=20, help="how many; otherwise 20"
    )


def _logs(parser: Parser) -> None:
    parser.describe(
        "Prints the last lines that a revision wrote, and with --follow what comes.",
        [
            ("mdeploy logs local", "of the newest revision"),
            ("mdeploy logs local --follow", "until Ctrl-C"),
            ("mdeploy logs --revision 1.0.0-3f2a9c1b", ""),
        ],
        (3, 6, 130),
    )
    _target(parser)
    parser.add_argument(
        "--revision", metavar="ID", help="whose, by id, version or bundle; otherwise the newest revision's"
    )
    parser.add_argument(
        "--tail", metavar="N", type=whole_number(0), default=100, help="how many lines; otherwise 100"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come, until Ctrl-C")


def _rollback(parser: Parser) -> None:
    parser.describe(
        """Gives all traffic to the revision that served before. It is parked and warm, so this is one
        change of weights. Works without a valid project file, and from another machine.""",
        [
            ("mdeploy rollback local", "to the one before"),
            ("mdeploy rollback local --to 1.0.0", "to this version, if it is parked"),
        ],
        (3, 6, 7, 11, 12, 130),
    )
    _target(parser)
    parser.add_argument(
        "--to", metavar="REVISION", help="a revision's id, version or bundle; otherwise the one before"
    )


def _resume(parser: Parser) -> None:
    parser.describe(
        """Goes on with a rollout that was interrupted or is held, from where it is: from any terminal, and
        from another machine.""",
        [("mdeploy resume local", "")],
        _WHAT_A_ROLLOUT_ENDS_WITH,
    )
    _target(parser)


def _abort(parser: Parser) -> None:
    parser.describe(
        """Ends a rollout that was interrupted or is held: all traffic to the stable revision, and the
        candidate is removed.""",
        [("mdeploy abort local", "")],
        (3, 6, 7, 11, 12, 130),
    )
    _target(parser)


def _up(parser: Parser) -> None:
    parser.describe(
        """Starts the target's router and revisions again with the weights they had: after a reboot, say.""",
        [("mdeploy up local", "")],
        (3, 5, 6),
    )
    _target(parser)


def _destroy(parser: Parser) -> None:
    parser.describe(
        """Removes the target's revisions and its router; the endpoint stops answering. Bundles and the
        history stay. In a terminal it asks first.""",
        [("mdeploy destroy local", "asks"), ("mdeploy destroy local --yes", "does not")],
        (2, 3, 6, 7),
    )
    _target(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _completion(parser: Parser) -> None:
    parser.describe(
        "Prints a script for your shell. It completes commands, options, target names and bundles.",
        [
            ('eval "$(mdeploy completion bash)"', "in ~/.bashrc"),
            ('eval "$(mdeploy completion zsh)"', "in ~/.zshrc, after compinit"),
            ("mdeploy completion fish | source", "in ~/.config/fish/config.fish"),
        ],
        (2,),
    )
    completes_with(
        lambda **_: SHELLS,
        parser.add_argument("shell", metavar="SHELL", type=one_of(*SHELLS), help=", ".join(SHELLS)),
    )


def _schema(parser: Parser) -> None:
    parser.describe(
        """Prints the JSON Schema that modeldeploy.toml is checked against, made from the same source.
        Editors use it for completion and for red underlines.""",
        [("mdeploy schema > modeldeploy.schema.json", "")],
    )


def _version(parser: Parser) -> None:
    parser.describe(
        "Prints what a bug report needs: the versions of mdeploy, Python and the system.",
        [("mdeploy version", ""), ("mdeploy --version", "only mdeploy's")],
    )


_ARGUMENTS = {
    "init": _init,
    "check": _check,
    "doctor": _doctor,
    "lock": _lock,
    "build": _build,
    "test": _test,
    "golden": _golden,
    "plan": _plan,
    "deploy": _deploy,
    "predict": _predict,
    "status": _status,
    "history": _history,
    "logs": _logs,
    "rollback": _rollback,
    "resume": _resume,
    "abort": _abort,
    "up": _up,
    "destroy": _destroy,
    "completion": _completion,
    "schema": _schema,
    "version": _version,
}


def whole_parser() -> argparse.ArgumentParser:
    """All commands in one parser: what completion needs."""
    root = Parser("")
    root.add_argument("--version", action="store_true", help="print the version")
    root.add_argument("-h", "--help", action="store_true", help="print help")
    commands = root.add_subparsers(parser_class=_Branch, metavar="COMMAND")
    for name, arguments in _ARGUMENTS.items():
        branch = commands.add_parser(name, command=name)
        arguments(branch)
        _common(branch)
    return root


class _Branch(Parser):
    """A parser below another one, which hands it keyword arguments of its own."""

    def __init__(self, *, command: str, **_: object) -> None:
        super().__init__(command)
