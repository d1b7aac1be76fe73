"""What repositories and tags may be called, in every kind of registry.

Source: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
"""

from __future__ import annotations

import re

from modeldeploy.errors import RegistryRefused

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LONGEST_NAME = 255


def is_name(name: str) -> bool:
    """True for what a repository may be called."""
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def insist_on_name(name: str) -> str:
    """The name, if a repository may have it. Raises `RegistryRefused`."""
    if is_name(name):
        return name
    raise RegistryRefused(
        f"no repository can be called {name[:80]!r}",
        hint="use lowercase letters and digits, with . _ - between them and / between parts",
    )


def insist_on_tag(tag: str) -> str:
    """The tag, if it can be one. Raises `RegistryRefused`."""
    if _TAG.fullmatch(tag):
        return tag
    raise RegistryRefused(
        f"no tag can be called {tag[:140]!r}",
        hint="use at most 128 letters, digits, dots, dashes and underscores, not beginning with . or -",
    )
