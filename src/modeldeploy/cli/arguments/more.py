"""completion, schema, version."""

from __future__ import annotations

from modeldeploy.cli.completion import completes_with
from modeldeploy.cli.parser import Parser, one_of

SHELLS = ("bash", "zsh", "fish")


def completion(parser: Parser) -> None:
    """The words of ``mdeploy completion``."""
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


def schema(parser: Parser) -> None:
    """The words of ``mdeploy schema``."""
    parser.describe(
        """Prints the JSON Schema that modeldeploy.toml is checked against, made from the same source.
        Editors use it for completion and for red underlines.""",
        [("mdeploy schema > modeldeploy.schema.json", "")],
    )


def version(parser: Parser) -> None:
    """The words of ``mdeploy version``."""
    parser.describe(
        "Prints what a bug report needs: the versions of mdeploy, Python and the system.",
        [("mdeploy version", ""), ("mdeploy --version", "only mdeploy's")],
    )
