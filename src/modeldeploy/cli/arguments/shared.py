"""Arguments that several commands take."""

from __future__ import annotations

from modeldeploy.cli.completion import bundles, completes_with, environments, targets
from modeldeploy.cli.parser import Parser, one_of

STRATEGIES = ("canary", "blue-green", "rolling")
WHAT_A_ROLLOUT_ENDS_WITH = (3, 4, 5, 6, 7, 10, 11, 12, 130)
BUNDLE = "NAME:VERSION, VERSION, sha256:DIGEST or @ALIAS"


def common(parser: Parser) -> None:
    """What every command takes."""
    add = parser.common.add_argument
    add(
        "--project",
        metavar="DIR",
        help="the folder with modeldeploy.toml; otherwise this folder, or the nearest above it that has one",
    )
    completes_with(
        environments,
        add("--env", metavar="NAME", help="the [env.NAME] overlay to use; otherwise MDEPLOY_ENV's, or none"),
    )
    add("--json", action="store_true", help="print JSON lines: events, then one result or error")
    add("--plain", action="store_true", help="no colour, and lines instead of a live view")
    add("-h", "--help", action="store_true", help="print this")


def target(parser: Parser, *, without: str = "may be left out where there is only one") -> None:
    """A target's name, which may be left out."""
    completes_with(
        targets,
        parser.add_argument("target", metavar="TARGET", nargs="?", help=f"a target's name; {without}"),
    )


def bundle(
    parser: Parser, *, required: bool = False, without: str = "otherwise the project as it is now"
) -> None:
    """A reference to a bundle."""
    told = BUNDLE if required else f"{BUNDLE}; {without}"
    nargs = None if required else "?"
    completes_with(bundles, parser.add_argument("bundle", metavar="BUNDLE", nargs=nargs, help=told))


def strategy(parser: Parser) -> None:
    """How traffic moves."""
    choice(parser, "--strategy", "NAME", STRATEGIES, f"{', '.join(STRATEGIES)}; otherwise the project file's")


def choice(parser: Parser, option: str, metavar: str, choices: tuple[str, ...], told: str) -> None:
    """An option that takes one of a few words."""
    completes_with(
        lambda **_: choices,
        parser.add_argument(option, metavar=metavar, type=one_of(*choices), help=told),
    )
