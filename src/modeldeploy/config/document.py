"""Writes what is generated from the schema: the reference page and the JSON Schema for editors.

::

    python -m modeldeploy.config.document docs/reference
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from modeldeploy.config import describe
from modeldeploy.config.describe import Key

PAGE = "project-file.md"
SCHEMA = "modeldeploy.schema.json"
_COMMAND = "python -m modeldeploy.config.document docs/reference"

_HEAD = f"""\
<!-- Made from the schema by `{_COMMAND}`; change src/modeldeploy/config/schema.py, not this page. -->
# The project file

`modeldeploy.toml` stands in the project's folder and says what is served and where. It is TOML 1.0, in
UTF-8. Unknown keys are refused, so a typo never passes for a wish. All problems are told at once, each with
file, line, key, what was expected and the nearest valid name; the exit code is 3. `mdeploy check` looks at
the file and changes nothing.

[`modeldeploy.toml.example`](../../modeldeploy.toml.example) shows every key. Editors that know JSON Schema
complete and check the file by [`modeldeploy.schema.json`](modeldeploy.schema.json); with a TOML language
server, this first line is enough:

```toml
#:schema ./docs/reference/modeldeploy.schema.json
```

Times are written with their unit: `"50ms"`, `"10s"`, `"2m"`, `"1h30m"`. Paths are relative to the project's
folder, with forward slashes, and stay inside it, links included.
"""
_PLUGIN = """\
## `[targets.NAME]` of another package's driver

A package that registers a driver under the entry point group `modeldeploy.targets` can be named as `driver`.
`replicas`, `env`, `rollout` and `rollout.gates` are as above; all other keys go to that driver, which checks
them itself.
"""
_PROSE = {
    ("targets", "NAME"): "NAME is yours: at most 63 lowercase letters, digits and dashes, beginning with a "
    "letter. `mdeploy deploy NAME` uses it.",
    (
        "targets",
        "NAME",
        "rollout",
        "gates",
    ): "Too few requests decide nothing: the rollout goes on waiting for "
    "up to `patience`, then it is held, and `mdeploy status` says so.",
}


def page() -> str:
    """The reference page, in Markdown."""
    tables = [((name,), key) for name, key in _tables() if name]
    parts = [_HEAD, *(_section(key) for _, key in tables), _PLUGIN]
    return "\n".join(parts)


def _tables() -> list[tuple[str, Key]]:
    every = list(describe.every_key())
    named = Key(("targets", "NAME"), describe.at(("targets", "name")), required=False)
    tables: list[tuple[str, Key]] = []
    for key in every:
        if key.path == ("targets",):
            tables.append(("targets", named))
        elif key.is_table:
            tables.append((key.path[-1], key))
    return tables


def _section(table: Key) -> str:
    intro = str(table.node.get("description", ""))
    prose = _PROSE.get(table.path)
    rows = [_row(key) for key in describe.every_key(table.path) if key.path[:-1] == table.path]
    return "\n".join(
        [
            f"## `[{'.'.join(table.path)}]`",
            "",
            *([intro, ""] if intro else []),
            *([prose, ""] if prose else []),
            "| key | what it is | expected | without it | example |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _row(key: Key) -> str:
    shown = describe.example(key.node)
    cells = (
        f"`{key.path[-1]}`",
        str(key.node.get("description", "")),
        describe.expected(key.node),
        _without(key),
        f"`{key.path[-1]} = {shown}`" if shown else f"see `[{'.'.join(key.path)}]`",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _without(key: Key) -> str:
    if key.required:
        return "**required**"
    return f"`{describe.toml(key.node['default'])}`" if "default" in key.node else "nothing"


def schema() -> str:
    """The JSON Schema for editors, as text."""
    return json.dumps(describe.json_schema(), indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    """Write both into this folder."""
    (folder / PAGE).write_text(page(), encoding="utf-8")
    (folder / SCHEMA).write_text(schema(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
