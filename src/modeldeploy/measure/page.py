"""A report as one HTML file: a picture, a table, notes. No scripts, fonts or links to elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from modeldeploy import files
from modeldeploy.errors import ConfigError
from modeldeploy.measure.svg import DARK, FONT, LIGHT

_STYLE = """\
:root{{color-scheme:light dark;{light}}}
@media (prefers-color-scheme: dark){{:root{{{dark}}}}}
body{{font:15px/1.5 {font};color:var(--ink);background:var(--paper)}}
body{{margin:2rem auto;max-width:60rem;padding:0 1rem}}
h1{{font-size:1.4rem;margin:0 0 .3rem}}
p,li{{color:var(--quiet);max-width:46rem}}
svg{{max-width:100%;height:auto}}
.wide{{overflow-x:auto}}
table{{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:1rem 0}}
th,td{{text-align:right;padding:.35rem .8rem;border-bottom:1px solid var(--grid);white-space:nowrap}}
th{{color:var(--quiet);font-weight:600}}
th:first-child,td:first-child,td.text{{text-align:left}}
td.text{{white-space:normal;min-width:16rem}}
tr.chosen td{{font-weight:600;color:var(--good)}}
tr.refused td{{color:var(--quiet)}}
"""


def report(
    title: str,
    facts: str,
    picture: str,
    header: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str]]],
    notes: Sequence[str],
) -> str:
    """The file's text. Each row has a class (``chosen``, ``refused`` or none) and its cells."""
    style = _STYLE.format(light=_variables(LIGHT), dark=_variables(DARK), font=FONT)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "\n".join(f'<tr class="{escape(kind)}">{_cells(cells)}</tr>' for kind, cells in rows)
    said = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(facts)}</p>
{picture}
<div class="wide"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>
<ul>{said}</ul>
</body>
</html>
"""


def save(path: Path, content: str) -> None:
    """Write a report, or a picture of its own, where everybody may read it. Raises `ConfigError`."""
    try:
        files.write_atomic(path, content.encode(), mode=0o644)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", hint="--save to a folder that you may write to"
        ) from error


def _cells(cells: Sequence[str]) -> str:
    return "".join(
        f'<td class="text">{escape(cell)}</td>' if len(cell) > 24 else f"<td>{escape(cell)}</td>"
        for cell in cells
    )


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())
