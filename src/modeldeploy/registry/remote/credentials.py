"""Who we are to a registry: from the project file, or from where docker and podman keep it."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeldeploy import shell
from modeldeploy.registry.remote.address import HUB

HELPER_PATIENCE = 15.0
"""Seconds that a credential helper may take; some ask the user for a password."""
_LARGEST_FILE = 4 << 20
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", HUB)
_IDENTITY_USER = "<token>"
"""The user name that stands for an identity token, in helpers."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password, or a token that stands for both. Neither ever shows in ``repr``."""

    username: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """The value of ``Authorization`` for basic authentication."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Found:
    """What the files of docker and podman hold for a host."""

    credentials: Credentials | None
    notes: tuple[str, ...] = ()
    """What stood in the way, for the message when the registry then refuses."""


def look_up(host: str, prefix: str, environment: Mapping[str, str] = os.environ) -> Found:
    """The credentials that ``podman login`` or ``docker login`` left; the first file with some decides."""
    notes: list[str] = []
    for path in files(environment):
        document = _document(path, notes)
        found = _in_document(document, _keys(host, prefix), notes) if document else None
        if found:
            return Found(found, tuple(notes))
    return Found(None, tuple(notes))


def files(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where they may be, in the order in which they are asked; podman's order."""
    if explicit := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(explicit)
        return
    user = Path(environment.get("HOME") or Path.home())
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json")
    yield Path(environment.get("XDG_CONFIG_HOME") or user / ".config", "containers", "auth.json")
    yield Path(environment.get("DOCKER_CONFIG") or user / ".docker", "config.json")


def _document(path: Path, notes: list[str]) -> dict[str, Any] | None:
    try:
        with path.open("rb") as stream:
            document = json.loads(stream.read(_LARGEST_FILE))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        notes.append(f"{path} cannot be read ({type(error).__name__})")
        return None
    return document if isinstance(document, dict) else None


def _keys(host: str, prefix: str) -> tuple[str, ...]:
    """What the host may be called, the most exact first: podman allows paths, docker wrote URLs once."""
    parts = prefix.split("/") if prefix else []
    exact = ["/".join([host, *parts[:length]]) for length in range(len(parts), 0, -1)]
    urls = [f"{scheme}://{host}{end}" for scheme in ("https", "http") for end in ("", "/", "/v1/", "/v2/")]
    return (*exact, host, *urls, *(_HUB_KEYS if host == HUB else ()))


def _in_document(document: dict[str, Any], keys: tuple[str, ...], notes: list[str]) -> Credentials | None:
    """Docker's order: the helper of this host, then the helper of all, then what is written down."""
    helpers = document.get("credHelpers")
    for key in keys:
        if isinstance(helpers, dict) and isinstance(helpers.get(key), str):
            return _ask_helper(helpers[key], key, notes)
    entries = document.get("auths")
    entries = entries if isinstance(entries, dict) else {}
    if isinstance(store := document.get("credsStore"), str) and store:
        named = [key for key in keys if key in entries] or [keys[-1] if HUB in keys else keys[0]]
        if found := _ask_helper(store, named[0], notes):
            return found
    return next((found for key in keys if (found := _written_down(entries.get(key)))), None)


def _written_down(entry: object) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    try:
        user, _, password = base64.b64decode(str(entry.get("auth") or "")).decode().partition(":")
    except ValueError:
        return None
    user, password = user or str(entry.get("username") or ""), password or str(entry.get("password") or "")
    token = str(entry.get("identitytoken") or "")
    return Credentials(user, password.rstrip("\0"), token) if token or (user and password) else None


def _ask_helper(name: str, host: str, notes: list[str]) -> Credentials | None:
    """Run ``docker-credential-NAME get``. Its output is a secret: it goes into no message."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        notes.append("the name of a credential helper is not one")
        return None
    program = f"docker-credential-{name}"
    try:
        answer = json.loads(
            shell.run([program, "get"], stdin=host.encode(), timeout=HELPER_PATIENCE).output[:_LARGEST_FILE]
        )
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except shell.ToolFailed as failed:
        said = failed.completed.output + failed.completed.errors if failed.completed else ""
        if "not found" not in said or failed.completed is None:
            notes.append(failed.message)
        return None
    except (ValueError, LookupError, TypeError):
        notes.append(f"{program} did not answer with credentials")
        return None
    if user == _IDENTITY_USER:
        return Credentials("", "", secret)
    return Credentials(user, secret)
