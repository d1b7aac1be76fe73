"""promote, approve, audit, at, trace."""

from __future__ import annotations

from modeldeploy.cli.arguments.shared import WHAT_A_ROLLOUT_ENDS_WITH, bundle, strategy, target
from modeldeploy.cli.completion import completes_with, targets
from modeldeploy.cli.parser import Parser, one_of, whole_number


def promote(parser: Parser) -> None:
    """The words of ``mdeploy promote``."""
    parser.describe(
        """Takes the bundle that is stable on one target, by its exact digest, to another one, by that
        target's rollout. Refused with every reason at once where [policy.TO] is not met.""",
        [
            ("mdeploy promote staging prod", "what staging runs now"),
            ("mdeploy promote staging prod --strategy blue-green", "all traffic at once, after the checks"),
        ],
        WHAT_A_ROLLOUT_ENDS_WITH,
    )
    completes_with(
        targets, parser.add_argument("source", metavar="FROM", help="the target whose stable bundle it is")
    )
    completes_with(targets, parser.add_argument("target", metavar="TO", help="the target to roll it out on"))
    strategy(parser)


def approve(parser: Parser) -> None:
    """The words of ``mdeploy approve``."""
    parser.describe(
        """Records that you approve a bundle, by its exact digest, for a target whose policy asks for it:
        require = ["approved:2"] wants two different people.""",
        [
            ("mdeploy approve digits:1.1.0 --for prod", ""),
            ('mdeploy approve @staging --for prod --note "CR-1042"', "with a note for the log"),
        ],
        (3, 4),
    )
    bundle(parser, required=True)
    completes_with(
        targets,
        parser.add_argument("--for", dest="target", metavar="TARGET", required=True, help="where it may go"),
    )
    parser.add_argument("--note", metavar="TEXT", default="", help="why, for the log")
    parser.add_argument("--revoke", action="store_true", help="take your approval back")


def audit(parser: Parser) -> None:
    """The words of ``mdeploy audit``."""
    parser.describe(
        """Prints the audit log: every push, alias, approval, deploy, promotion and rollback, with who and
        when. It is kept in the registry, and each entry pins the one before: `mdeploy audit verify` finds an
        entry that was changed, removed or slipped in.""",
        [
            ("mdeploy audit", "the newest 20"),
            ("mdeploy audit verify", "whether it is as it was written"),
            ("mdeploy audit --limit 1000 --json", ""),
        ],
        (3, 4),
    )
    completes_with(
        lambda **_: ("verify",),
        parser.add_argument(
            "action",
            metavar="ACTION",
            nargs="?",
            type=one_of("verify"),
            help="verify; otherwise it is printed",
        ),
    )
    parser.add_argument(
        "--limit", metavar="N", type=whole_number(1), default=20, help="how many; otherwise 20"
    )


def at(parser: Parser) -> None:
    """The words of ``mdeploy at``."""
    parser.describe(
        """Says from the audit log what was live at a time: bundle, revision, since when, by whom.""",
        [
            ("mdeploy at '2h ago' prod", ""),
            ("mdeploy at 2026-11-22T14:00Z", "on all targets"),
            ("mdeploy at '2026-11-22 14:00' prod", "in this machine's time zone"),
        ],
        (3, 4),
    )
    parser.add_argument("time", metavar="TIME", help="a date and time, or how long ago")
    target(parser, without="otherwise all of them")


def trace(parser: Parser) -> None:
    """The words of ``mdeploy trace``."""
    parser.describe(
        """From an answer's x-model-version header back to all that led to it: bundle, digest, commit, tests,
        approvals, promotions, the numbers of its rollouts.""",
        [
            ("mdeploy trace 1.0.0-3f2a9c1b", "the header's value"),
            ("mdeploy trace 1.0.0-3f2a9c1b --json", ""),
        ],
        (3, 4),
    )
    parser.add_argument("version", metavar="VERSION", help="the value of x-model-version: a revision's id")
