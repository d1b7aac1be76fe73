"""Traffic as one line of text.

Envoy keeps it as the version of its routes, so the router itself remembers who gets what, who is
stable and who may stand in.

The line is ``<generation>;w=<rev>:<pct>,...;s=<rev>;f=<rev>,<rev>``. Revision ids hold none of ``;:,=``.
"""

from __future__ import annotations

import re

from modeldeploy.model import RevisionId, Traffic

_LINE = re.compile(r"(?P<generation>\d+);w=(?P<weights>[^;]*);s=(?P<stable>[^;]*);f=(?P<fallback>[^;]*)")
_REVISION = re.compile(r"[a-z0-9.-]+")


def encode(generation: int, traffic: Traffic) -> str:
    """The line for this traffic; equal traffic gives equal lines.

    Raises ValueError for a revision id with other characters than ``[a-z0-9.-]``.
    """
    if generation < 0:
        raise ValueError(f"a generation is not negative: {generation}")
    weights = ",".join(f"{_checked(name)}:{traffic.weights[name]}" for name in sorted(traffic.weights))
    stable = _checked(traffic.stable) if traffic.stable is not None else ""
    fallback = ",".join(_checked(name) for name in traffic.fallback)
    return f"{generation};w={weights};s={stable};f={fallback}"


def decode(line: str) -> tuple[int, Traffic]:
    """Generation and traffic of a line. Raises ValueError for one that `encode` cannot have written."""
    parts = _LINE.fullmatch(line)
    if parts is None:
        raise ValueError(f"not a traffic line: {line[:80]!r}")
    weights = [_weight(item) for item in _items(parts["weights"])]
    if len(dict(weights)) != len(weights):
        raise ValueError(f"a revision has two weights: {line[:80]!r}")
    stable = _checked(parts["stable"]) if parts["stable"] else None
    fallback = tuple(_checked(name) for name in _items(parts["fallback"]))
    return int(parts["generation"]), Traffic(dict(weights), stable, fallback)


def _items(text: str) -> list[str]:
    return text.split(",") if text else []


def _weight(item: str) -> tuple[RevisionId, int]:
    name, _, share = item.partition(":")
    if not (share.isascii() and share.isdigit()):
        raise ValueError(f"not a weight: {item[:80]!r}")
    return _checked(name), int(share)


def _checked(name: str) -> RevisionId:
    if _REVISION.fullmatch(name) is None:
        raise ValueError(f"not a revision id: {name[:80]!r}; expected characters a-z 0-9 . -")
    return RevisionId(name)
