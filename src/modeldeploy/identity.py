"""Who does this, as it is written down: a claim, not a proof.

On a machine it is ``user@host``; in GitHub Actions the one who started the run, ``ACTOR@github``, with the
run's address. Whoever can set a variable or a host name can claim any of it. Who must be sure asks for
signatures (docs/explanation/audit-log.md says what each record proves).
"""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections.abc import Mapping

_GITHUB = "GITHUB_ACTIONS"
_UNFIT = re.compile(r"[^\w.+@\[\]-]+")
"""What a name must not hold: it is printed in terminals and compared by programs."""


def current(environment: Mapping[str, str] = os.environ) -> str:
    """Who runs this process: ``user@host``, or ``ACTOR@github``."""
    actor = environment.get("GITHUB_ACTOR", "")
    if environment.get(_GITHUB) == "true" and actor:
        return f"{_fit(actor)}@github"
    return f"{_fit(_user())}@{_fit(platform.node()) or 'localhost'}"


def circumstances(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What else is known of it: in GitHub Actions the run's address, its workflow and its commit."""
    if environment.get(_GITHUB) != "true":
        return {}
    parts = {name: environment.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")}
    told = {
        "workflow": environment.get("GITHUB_WORKFLOW", ""),
        "commit": environment.get("GITHUB_SHA", ""),
        "ref": environment.get("GITHUB_REF", ""),
    }
    if all(parts.values()):
        told["run"] = f"{parts['SERVER_URL']}/{parts['REPOSITORY']}/actions/runs/{parts['RUN_ID']}"
    return {name: value[:300] for name, value in told.items() if value}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container with a numeric user that no file names
        return f"uid{os.getuid()}"


def _fit(name: str) -> str:
    return _UNFIT.sub("-", name)[:100]
