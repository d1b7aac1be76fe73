"""Small pictures of characters: bars, spans and lines that fit beside a table. Pure."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"


def fits(encoding: str | None) -> bool:
    """True if a stream of this encoding can show block characters."""
    try:
        (_EIGHTHS + _HEIGHTS + "●━○").encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def bar(share: float, width: int, *, blocks: bool = True) -> str:
    """A bar for a share of the width, 0 to 1, padded to the width."""
    share = min(max(share, 0.0), 1.0)
    if not blocks:
        return ("#" * round(share * width)).ljust(width)
    whole, eighth = divmod(round(share * width * 8), 8)
    return ("█" * whole + (_EIGHTHS[eighth] if eighth else "")).ljust(width)


def sparkline(values: Sequence[float], width: int = 16, *, blocks: bool = True) -> str:
    """How values went, from 0 to the largest; the mean of several where there are more than the width."""
    if not values or not blocks:
        return ""
    count = min(width, len(values))
    groups = [
        values[
            len(values) * at // count : max(len(values) * (at + 1) // count, len(values) * at // count + 1)
        ]
        for at in range(count)
    ]
    means = [sum(group) / len(group) for group in groups]
    top = max(means) or 1.0
    return "".join(_HEIGHTS[min(7, int(8 * mean / top))] for mean in means)


def span(low: float, high: float, least: float, most: float, width: int, *, blocks: bool = True) -> str:
    """From one value to a higher one on a line of logarithms that reaches from ``least`` to ``most``."""
    first, last = (_place(value, least, most, width) for value in (low, high))
    begin, between, end = "●━○" if blocks else "*-o"
    if first == last:
        return (" " * first + begin).ljust(width)
    return (" " * first + begin + between * (last - first - 1) + end).ljust(width)


def _place(value: float, least: float, most: float, width: int) -> int:
    if most <= least:
        return 0
    share = math.log(value / least) / math.log(most / least)
    return min(width - 1, max(0, round(share * (width - 1))))
