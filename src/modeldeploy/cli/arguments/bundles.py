"""lock, build, test, golden."""

from __future__ import annotations

from modeldeploy.cli.arguments.shared import bundle, choice
from modeldeploy.cli.parser import Parser, whole_number


def lock(parser: Parser) -> None:
    """The words of ``mdeploy lock``."""
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


def build(parser: Parser) -> None:
    """The words of ``mdeploy build``."""
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
    choice(
        parser,
        "--bump",
        "PART",
        ("patch", "minor", "major"),
        "first raise project.version: patch, minor or major",
    )
    parser.add_argument(
        "--upgrade", action="store_true", help="first lock the newest versions of the requirements"
    )


def test(parser: Parser) -> None:
    """The words of ``mdeploy test``."""
    parser.describe(
        """Starts the bundle on this machine, waits until it is ready, replays its golden samples, checks
        that a bad request is refused, and stops it. Touches no target.""",
        [("mdeploy test", "the project as it is now"), ("mdeploy test digits:1.0.0", "this one")],
        (3, 4, 5),
    )
    bundle(parser)


def golden(parser: Parser) -> None:
    """The words of ``mdeploy golden``."""
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
