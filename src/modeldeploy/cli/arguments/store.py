"""bundles, inspect, why, scan, gc."""

from __future__ import annotations

from modeldeploy.cli.arguments.shared import BUNDLE, bundle
from modeldeploy.cli.completion import bundles as known_bundles
from modeldeploy.cli.completion import completes_with
from modeldeploy.cli.parser import Parser, whole_number


def bundles(parser: Parser) -> None:
    """The words of ``mdeploy bundles``."""
    parser.describe(
        """Lists the bundles in this machine's store: version, digest, size, commit, and where each one is
        live. Works without a project, too.""",
        [("mdeploy bundles", ""), ("mdeploy bundles --json", "the same as JSON")],
        (3,),
    )


def inspect(parser: Parser) -> None:
    """The words of ``mdeploy inspect``."""
    parser.describe(
        """Prints all that is known of a bundle without running it: signature, golden samples, model files,
        packages, licence, metadata, commit, and where it is live.""",
        [("mdeploy inspect digits:1.0.0", ""), ("mdeploy inspect @prod --json", "every fact as JSON")],
        (3, 4),
    )
    bundle(parser, without="otherwise the project's version, as it was built")


def why(parser: Parser) -> None:
    """The words of ``mdeploy why``."""
    parser.describe(
        """Says what makes two bundles differ: which file, which package, which setting. Equal digests mean
        equal content, so the answer is always complete.""",
        [
            ("mdeploy why", "what changed in the project since its version was built"),
            ("mdeploy why 1.0.0", "and since 1.0.0"),
            ("mdeploy why 1.0.0 1.1.0", "between two versions"),
            ("mdeploy why @prod @staging", "between what two aliases stand for"),
        ],
        (3, 4),
    )
    completes_with(
        known_bundles,
        parser.add_argument("a", metavar="A", nargs="?", help=f"{BUNDLE}; otherwise the project's version"),
    )
    completes_with(
        known_bundles,
        parser.add_argument("b", metavar="B", nargs="?", help=f"{BUNDLE}; otherwise the project as it is"),
    )


def scan(parser: Parser) -> None:
    """The words of ``mdeploy scan``."""
    parser.describe(
        """Looks for known vulnerabilities in the bundle's locked packages, and for code that hides in its
        model files. Loads none of them. Advisories come from an offline database (files in OSV's form), or
        from pip-audit where it is installed.""",
        [
            ("mdeploy scan", "the project as it is now"),
            ("mdeploy scan @prod --database osv-pypi.zip", "offline"),
        ],
        (3, 4, 5),
    )
    bundle(parser)
    parser.add_argument(
        "--database", metavar="PATH", help="a folder or zip of OSV advisories; otherwise [scan] database"
    )


def gc(parser: Parser) -> None:
    """The words of ``mdeploy gc``."""
    parser.describe(
        """Removes from this machine what nothing needs: old bundles, environments, images, half-finished
        downloads. Never what a target runs, parks or keeps for `rollback`, nor the newest versions. Works
        without a project, too.""",
        [
            ("mdeploy gc --dry-run", "what would go, and how much space it takes"),
            ("mdeploy gc --keep 3 --days 30", "keep three versions of each name, and a month's"),
        ],
        (3,),
    )
    add = parser.add_argument
    add("--dry-run", action="store_true", help="remove nothing, only say what would go")
    add(
        "--keep",
        metavar="N",
        type=whole_number(0),
        default=5,
        help="versions of each name to keep; otherwise 5",
    )
    add(
        "--days",
        metavar="N",
        type=whole_number(0),
        default=30,
        help="keep what is younger; otherwise 30 days",
    )
