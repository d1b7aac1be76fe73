"""predict, status, history, logs."""

from __future__ import annotations

from modeldeploy.cli.arguments.shared import target
from modeldeploy.cli.parser import Parser, whole_number


def predict(parser: Parser) -> None:
    """The words of ``mdeploy predict``."""
    parser.describe(
        """Sends the input to the target's endpoint and prints the answer. The revision that answered goes
        to standard error, with the time it took.""",
        [
            ("mdeploy predict local --input samples.json", ""),
            ("echo '{...}' | mdeploy predict --input -", "from standard input"),
        ],
        (3, 6),
    )
    target(parser)
    parser.add_argument(
        "--input", metavar="FILE", required=True, help="the request's body, JSON; - is standard input"
    )
    parser.add_argument(
        "--path", metavar="PATH", default="/predict", help="where to send it; otherwise /predict"
    )


def status(parser: Parser) -> None:
    """The words of ``mdeploy status``."""
    parser.describe(
        """Reads each target itself: its endpoint, its revisions with their state and weight, the rollout
        in progress and what is out of order. Without a target: all of them.""",
        [("mdeploy status", ""), ("mdeploy status local --json", "endpoint, revisions, rollout as JSON")],
        (3, 6),
    )
    target(parser, without="otherwise all of them")


def history(parser: Parser) -> None:
    """The words of ``mdeploy history``."""
    parser.describe(
        "Lists rollouts and rollbacks, the newest first: when, by whom, how they ended and why.",
        [("mdeploy history local", ""), ("mdeploy history local --limit 100", "")],
        (3, 6),
    )
    target(parser)
    parser.add_argument(
        "--limit", metavar="N", type=whole_number(1), default=20, help="how many; otherwise 20"
    )


def logs(parser: Parser) -> None:
    """The words of ``mdeploy logs``."""
    parser.describe(
        "Prints the last lines that a revision wrote, and with --follow what comes.",
        [
            ("mdeploy logs local", "of the newest revision"),
            ("mdeploy logs local --follow", "until Ctrl-C"),
            ("mdeploy logs --revision 1.0.0-3f2a9c1b", ""),
        ],
        (3, 6, 130),
    )
    target(parser)
    parser.add_argument(
        "--revision", metavar="ID", help="whose, by id, version or bundle; otherwise the newest revision's"
    )
    parser.add_argument(
        "--tail", metavar="N", type=whole_number(0), default=100, help="how many lines; otherwise 100"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come, until Ctrl-C")
