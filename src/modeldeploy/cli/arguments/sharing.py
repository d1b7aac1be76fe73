"""image, push, pull, verify, alias, keygen, sign."""

from __future__ import annotations

from modeldeploy.cli.arguments.shared import bundle, choice
from modeldeploy.cli.completion import aliases, completes_with
from modeldeploy.cli.parser import Parser

ENGINES = ("none", "docker", "podman", "buildah")
LOADERS = ("docker", "podman")
PLATFORMS = ("linux/amd64", "linux/arm64")


def image(parser: Parser) -> None:
    """The words of ``mdeploy image``."""
    parser.describe(
        """Builds the bundle's container image, without a daemon: layers for base, packages, code and each
        model file, so that only what changed is built and sent. The same bundle and modeldeploy.image.lock
        give the same digest on any machine.""",
        [
            ("mdeploy image", "the project's, for its platforms"),
            ("mdeploy image --load docker", "and into the Docker engine here"),
            ("mdeploy image digits:1.0.0 --output digits.tar", "as a file for docker load"),
            ("mdeploy image --platform linux/arm64", "for another architecture"),
        ],
        (3, 4, 5),
    )
    bundle(parser)
    completes_with(
        lambda **_: PLATFORMS,
        parser.add_argument(
            "--platform",
            metavar="PLATFORM",
            action="append",
            default=[],
            help="linux/amd64 or linux/arm64; may be given twice; otherwise image.platforms",
        ),
    )
    choice(
        parser,
        "--engine",
        "NAME",
        ENGINES,
        "none, docker, podman or buildah; otherwise image.engine. Only image.run steps need one",
    )
    choice(parser, "--load", "ENGINE", LOADERS, "hand it to docker or podman on this machine")
    parser.add_argument(
        "--output", metavar="PATH", help="write it to FILE.tar, or as an OCI layout to a folder"
    )
    parser.add_argument(
        "--upgrade", action="store_true", help="first take the newest base into modeldeploy.image.lock"
    )


def push(parser: Parser) -> None:
    """The words of ``mdeploy push``."""
    parser.describe(
        """Sends the bundle, and the images built of it, to the registry: only what is not there yet. What
        was cut off goes on where it ended. A version in a registry never changes.""",
        [
            ("mdeploy push", "the project as it is now, to [registry] url"),
            ("mdeploy push digits:1.0.0 --image", "with its image, built if need be"),
            ("mdeploy push --to https://registry.example.com/team", "to another one"),
        ],
        (3, 4),
    )
    bundle(parser)
    parser.add_argument(
        "--to", metavar="REGISTRY", help="a folder, s3://BUCKET/PREFIX or https://HOST/PREFIX"
    )
    add = parser.add_argument
    add("--image", action="store_true", default=None, help="with the image, built if need be")
    told = "without; otherwise the one that was made last goes along"
    add("--no-image", dest="image", action="store_false", help=told)


def pull(parser: Parser) -> None:
    """The words of ``mdeploy pull``."""
    parser.describe(
        """Fetches a bundle into this machine's store. Every byte is checked against the digest that names
        it. `deploy` does this by itself for a bundle that is not here.""",
        [("mdeploy pull digits:1.0.0", ""), ("mdeploy pull @prod", "what the alias stands for")],
        (3, 4),
    )
    bundle(parser, required=True)
    parser.add_argument(
        "--from", dest="source", metavar="REGISTRY", help="another registry than [registry] url"
    )


def verify(parser: Parser) -> None:
    """The words of ``mdeploy verify``."""
    parser.describe(
        """Reads every byte of a bundle, here and in the registry, and checks it against the digests that
        name it; and its signatures against [signing] public_keys.""",
        [("mdeploy verify digits:1.0.0", ""), ("mdeploy verify @prod", "")],
        (3, 4, 5),
    )
    bundle(parser)


def alias(parser: Parser) -> None:
    """The words of ``mdeploy alias``."""
    parser.describe(
        """Points a name such as @staging to a bundle in the registry. Versions never change; aliases move,
        and the audit log keeps where they were.""",
        [
            ("mdeploy alias", "all aliases"),
            ("mdeploy alias @staging", "where it points, and where it did"),
            ("mdeploy alias @staging digits:1.1.0", "move it"),
        ],
        (3, 4),
    )
    completes_with(
        aliases,
        parser.add_argument(
            "name", metavar="ALIAS", nargs="?", help="a name, with or without @; otherwise all"
        ),
    )
    bundle(parser, without="otherwise the alias is shown, not moved")


def keygen(parser: Parser) -> None:
    """The words of ``mdeploy keygen``."""
    parser.describe(
        """Makes a pair of keys in cosign's form: the private one encrypted by a password (COSIGN_PASSWORD, or
        asked for), the public one for [signing] public_keys. Never replaces a file.""",
        [("mdeploy keygen", "cosign.key and cosign.pub here"), ("mdeploy keygen keys", "in the folder keys")],
        (3, 4),
    )
    parser.add_argument(
        "folder", metavar="FOLDER", nargs="?", help="where to; otherwise the project's folder"
    )


def sign(parser: Parser) -> None:
    """The words of ``mdeploy sign``."""
    parser.describe(
        """Signs a bundle in the registry, and its images, as cosign does: `cosign verify` accepts them, and
        `mdeploy verify` what cosign signed.""",
        [
            ("mdeploy sign digits:1.0.0", "with [signing] key"),
            ("mdeploy sign @staging --key cosign.key", "with this one"),
        ],
        (3, 4),
    )
    bundle(parser)
    parser.add_argument(
        "--key", metavar="KEY", help="a key file, env://NAME or a plugin's; otherwise [signing] key"
    )
