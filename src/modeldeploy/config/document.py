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
from modeldeploy.config.overlay import TABLE

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
_ENVIRONMENTS = """\
## `[env.NAME]`

What is different in an environment: the same tables as above, `project` excepted, with only the keys that
differ. `--env NAME`, or the variable `MDEPLOY_ENV`, lays them over the others: tables are merged key by key,
everything else, lists too, is replaced. A file `modeldeploy.NAME.toml` beside the project file does the same;
where both say something, the file holds. Keys are checked in every environment, values in the chosen one.
[How to use environments](../how-to/use-environments.md).

```toml
[env.production.targets.local]
replicas = 4
```

## `${VARIABLE}`

In text, `${NAME}` stands for the value of an environment variable, `${NAME:-text}` for that text where the
variable is not set or empty, and `$${` for the characters `${` themselves. Keys are never looked through. A
variable that is not set is an error, with the file, the line and what to export.

## `secret:...`

In `targets.NAME.env`, `registry.username`, `registry.password` and `signing.key`, text that begins with
`secret:` is a reference: `secret:env:NAME`, `secret:file:PATH`, `secret:keyring:SERVICE/USER`, or the kind of
another package. It is looked up at the last moment.
[How to keep secrets out](../how-to/keep-secrets-out.md).
"""
_PROSE = {
    (
        "policy",
        "NAME",
    ): "NAME is a target's. `mdeploy promote` and `mdeploy deploy` to it refuse what the policy does not let "
    "in, each unmet requirement with the command that meets it. `mdeploy rollback` never asks.",
    ("image",): '`run` needs an engine; `packages` needs `base = "debian"` or an engine.',
    ("registry",): "User and password of an OCI registry may stay out of the file: Docker's configuration "
    "(`docker login`) and its credential helpers are asked.",
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
    parts = [_HEAD, *(_section(key) for key in _tables()), _PLUGIN, _ENVIRONMENTS]
    return "\n".join(parts)


def _tables() -> list[Key]:
    tables: list[Key] = []
    for key in describe.every_key():
        if key.path == (TABLE,):
            continue  # its keys are those of all the others: said at the end
        if key.path[-1] in describe.NAMED and len(key.path) == 1:
            named = describe.at((*key.path, "name"))
            tables.append(Key((*key.path, "NAME"), named, required=False))
        elif key.is_table:
            tables.append(key)
    return tables


def _section(table: Key) -> str:
    intro = str(table.node.get("description", ""))
    prose = _PROSE.get(table.path)
    rows = [_row(key) for key in describe.every_key(table.path) if key.path[:-1] == table.path]
    head = [
        f"## `[{'.'.join(table.path)}]`",
        "",
        *([intro, ""] if intro else []),
        *([prose, ""] if prose else []),
    ]
    if not rows:
        return "\n".join([*head, "```toml", *_as_lines(table), "```", ""])
    return "\n".join(
        [
            *head,
            "| key | what it is | expected | without it | example |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _as_lines(table: Key) -> list[str]:
    values = table.node["examples"][0]
    return [f"[{table.path[-1]}]", *(f"{key} = {describe.toml(value)}" for key, value in values.items())]


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
