"""An error as people read it: what went wrong, the numbers, the last log lines, what to type next."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from modeldeploy.cli import text
from modeldeploy.cli.terminal import Terminal
from modeldeploy.errors import ModelDeployError
from modeldeploy.model import Finding, Level

_BLOCKS = {"log": "last log lines", "output": "last lines of its output"}

_SIGNS = {Level.OK: ("done", "green"), Level.WARNING: ("warning", "yellow"), Level.ERROR: ("failed", "red")}


def lines(error: ModelDeployError, terminal: Terminal) -> Iterator[str]:
    """The error, line by line."""
    first, *more = text.clean(error.message).splitlines() or ["no message"]
    yield f"{terminal.styled('error:', 'red')} {first}"
    yield from (f"       {line}" for line in more)
    if listed := getattr(error, "findings", ()):
        yield from findings(listed, terminal)
    yield from _details(error.details)
    label = "hint:" if (error.hint or "").endswith("?") else "try:"
    for number, line in enumerate((error.hint or "").splitlines()):
        yield f"{terminal.styled(label, 'cyan') if not number else ' ' * len(label)} {text.clean(line)}"


def findings(found: Sequence[Finding], terminal: Terminal) -> Iterator[str]:
    """Findings, each with its remedy below it."""
    width = max((len(finding.check) for finding in found), default=0)
    for finding in found:
        sign, style = _SIGNS[finding.level]
        level = terminal.styled(f"{terminal.mark(sign):<2} {finding.level.value:<7}", style)
        where = f" ({finding.where})" if finding.where else ""
        first, *more = text.clean(finding.message).splitlines() or [""]
        yield f"{level}  {finding.check:<{width}}  {first}{where}"
        indent = " " * (width + 14)
        yield from (f"{indent}{line}" for line in more)
        for number, line in enumerate(finding.remedy.splitlines()):
            yield f"{indent}{'try: ' if not number else '     '}{text.clean(line)}"


def _details(details: Mapping[str, object]) -> Iterator[str]:
    since = details.get("since")
    if isinstance(since, int | float):
        yield f"       since {text.date_time(since)} ({text.age(time.time() - since)} ago)"
    measures = details.get("measures")
    if isinstance(measures, list | tuple) and measures:
        yield ""
        yield from (f"  {line}" for line in text.gates(measures))
        yield ""
    for name, title in _BLOCKS.items():
        yield from _block(title, details.get(name))


def _block(title: str, content: object) -> Iterable[str]:
    if not isinstance(content, list | tuple) or not content:
        return []
    told = [text.log_line(str(line)) for line in content]
    counted = [(line, len(list(same))) for line, same in groupby(told)]
    return [f"  {title}:", *(f"  | {line}{f'  ({n} times)' if n > 1 else ''}" for line, n in counted[-20:])]
