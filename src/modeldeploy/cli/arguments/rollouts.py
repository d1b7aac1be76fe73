"""plan, deploy, rollback, resume, abort, up, destroy."""

from __future__ import annotations

from modeldeploy.cli.arguments.shared import WHAT_A_ROLLOUT_ENDS_WITH, bundle, strategy, target
from modeldeploy.cli.parser import Parser


def plan(parser: Parser) -> None:
    """The words of ``mdeploy plan``."""
    parser.describe(
        """Reads the target and prints the steps that `deploy` would take, and how traffic would move.
        Changes nothing. The exit code tells nothing to do (0) from something to do (8).""",
        [
            ("mdeploy plan local", ""),
            ("mdeploy plan local digits:1.0.0", "what deploying this one would do"),
        ],
        (8, 3, 4, 6),
    )
    target(parser)
    bundle(parser)


def deploy(parser: Parser) -> None:
    """The words of ``mdeploy deploy``."""
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
        WHAT_A_ROLLOUT_ENDS_WITH,
    )
    target(parser)
    bundle(parser)
    strategy(parser)


def rollback(parser: Parser) -> None:
    """The words of ``mdeploy rollback``."""
    parser.describe(
        """Gives all traffic to the revision that served before. It is parked and warm, so this is one
        change of weights. Works without a valid project file, and from another machine.""",
        [
            ("mdeploy rollback local", "to the one before"),
            ("mdeploy rollback local --to 1.0.0", "to this version, if it is parked"),
        ],
        (3, 6, 7, 11, 12, 130),
    )
    target(parser)
    parser.add_argument(
        "--to", metavar="REVISION", help="a revision's id, version or bundle; otherwise the one before"
    )


def resume(parser: Parser) -> None:
    """The words of ``mdeploy resume``."""
    parser.describe(
        """Goes on with a rollout that was interrupted or is held, from where it is: from any terminal, and
        from another machine.""",
        [("mdeploy resume local", "")],
        WHAT_A_ROLLOUT_ENDS_WITH,
    )
    target(parser)


def abort(parser: Parser) -> None:
    """The words of ``mdeploy abort``."""
    parser.describe(
        """Ends a rollout that was interrupted or is held: all traffic to the stable revision, and the
        candidate is removed.""",
        [("mdeploy abort local", "")],
        (3, 6, 7, 11, 12, 130),
    )
    target(parser)


def up(parser: Parser) -> None:
    """The words of ``mdeploy up``."""
    parser.describe(
        """Starts the target's router and revisions again with the weights they had: after a reboot, say.""",
        [("mdeploy up local", "")],
        (3, 5, 6),
    )
    target(parser)


def destroy(parser: Parser) -> None:
    """The words of ``mdeploy destroy``."""
    parser.describe(
        """Removes the target's revisions and its router; the endpoint stops answering. Bundles and the
        history stay. In a terminal it asks first.""",
        [("mdeploy destroy local", "asks"), ("mdeploy destroy local --yes", "does not")],
        (2, 3, 6, 7),
    )
    target(parser)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
