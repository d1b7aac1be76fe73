"""init, check, doctor."""

from __future__ import annotations

from modeldeploy.cli.parser import Parser


def init(parser: Parser) -> None:
    """The words of ``mdeploy init``."""
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


def check(parser: Parser) -> None:
    """The words of ``mdeploy check``."""
    parser.describe(
        """Reads modeldeploy.toml, the model and the files it names, and looks at the tools and targets
        that they need. Each problem comes with file and line and what to do about it. Changes nothing.""",
        [("mdeploy check", ""), ("mdeploy check --json", "the findings as JSON")],
        (3, 5),
    )


def doctor(parser: Parser) -> None:
    """The words of ``mdeploy doctor``."""
    parser.describe(
        """Looks at this machine: Python, Envoy, uv, mdeploy's own folder, its targets. Works without a
        project, too. Changes nothing.""",
        [("mdeploy doctor", "")],
        (5,),
    )
