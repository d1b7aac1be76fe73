"""completion, schema, version."""

from __future__ import annotations

import json
import platform
import sys

from modeldeploy import __version__
from modeldeploy.cli.session import Answer, Session


def completion(session: Session) -> Answer:
    """The shell's completion script."""
    from argcomplete.shell_integration import shellcode

    shell = session.values.shell
    # Bash also wants file names where mdeploy has nothing to offer: `--input`, `--project`.
    script = shellcode(["mdeploy"], use_defaults=True, shell="fish" if shell == "fish" else "bash")
    return Answer({"shell": shell, "script": script}, [script.strip()])


def schema(_session: Session) -> Answer:
    """The project file's JSON Schema."""
    from modeldeploy.config.describe import json_schema

    described = json_schema()
    return Answer({"schema": described}, [json.dumps(described, indent=2)])


def version(_session: Session) -> Answer:
    """What a bug report needs."""
    found = {
        "mdeploy": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "prefix": sys.prefix,
    }
    return Answer(found, [f"{name:<8} {value}" for name, value in found.items()])
