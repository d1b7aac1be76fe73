"""Secrets by reference: ``secret:env:NAME``, ``secret:file:PATH``, ``secret:keyring:SERVICE/USER``.

The project file holds the reference; the value is fetched at the last moment, by whoever needs it, and goes
into a `Sealed`. Other packages bring further schemes as functions ``(reference: str, root: Path) -> str``
under the entry point group ``modeldeploy.secrets``; ``reference`` is what stands behind the scheme.

No error here holds a value, nor what a keyring or another package said about one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modeldeploy.config.names import VARIABLE, closest, matches
from modeldeploy.errors import ConfigError
from modeldeploy.model import Sealed

GROUP = "modeldeploy.secrets"
PREFIX = "secret:"
LARGEST = 64_000
"""Bytes of a secret in a file; more is no password and no key."""
_OWN = ("env", "file", "keyring")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a reference cannot be one; ``nearest`` is a right one close to it."""

    reason: str
    nearest: str | None = None


def is_reference(text: str) -> bool:
    """True for text that refers to a secret, well or not."""
    return text.startswith(PREFIX)


def fault(text: str) -> Fault | None:
    """What is wrong with the form of a reference; None if it is right. Looks nothing up."""
    scheme, colon, rest = text.removeprefix(PREFIX).partition(":")
    if not is_reference(text) or not colon or not rest.strip() or not text.isprintable() or len(text) > 500:
        return Fault("not a reference to a secret; expected such as secret:env:NAME or secret:file:PATH")
    if scheme not in _OWN and scheme not in _foreign():
        known = sorted({*_OWN, *_foreign()})
        near = closest(scheme, known)
        return Fault(
            f"there is no such kind of secret; expected one of {', '.join(known)}",
            f"{PREFIX}{near}:{rest}" if near else None,
        )
    if scheme == "env" and not matches(VARIABLE, rest):
        return Fault("not the name of an environment variable")
    if scheme == "keyring" and not all(rest.rpartition("/")):
        return Fault(
            "a secret in a keyring is named by its service and its user: secret:keyring:SERVICE/USER"
        )
    return None


def resolve(reference: str, root: Path) -> str:
    """The value that a reference stands for, now. ``root`` is the project's folder.

    Raises `ConfigError` that names the reference and what to do, never a value.
    """
    wrong = fault(reference)
    if wrong:
        raise ConfigError(wrong.reason)  # what is no reference may be a secret itself
    scheme, _, rest = reference.removeprefix(PREFIX).partition(":")
    if scheme == "env":
        value = _of_environment(reference, rest)
    elif scheme == "file":
        value = _of_file(reference, root / rest)
    elif scheme == "keyring":
        value = _of_keyring(reference, rest)
    else:
        value = _of_plugin(reference, scheme, rest, root)
    if not value:
        raise ConfigError(f"{_told(reference)} is empty", hint="a secret is at least one character")
    return value


def resolve_all(values: Mapping[str, str], root: Path) -> Sealed:
    """The same values, with every reference replaced by what it stands for. Raises as `resolve`."""
    return Sealed(
        {name: resolve(value, root) if is_reference(value) else value for name, value in values.items()}
    )


def file_of(reference: str, root: Path) -> Path | None:
    """The file that a reference names; None for one of another kind."""
    rest = reference.removeprefix(f"{PREFIX}file:")
    return root / rest if rest != reference else None


def _of_environment(reference: str, name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ConfigError(f"{_told(reference)}: {name} is not set", hint=f"export {name}=...")
    return value


def _of_file(reference: str, path: Path) -> str:
    try:
        # Looked at before it is opened: opening a pipe would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{_told(reference)}: that is no file")
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such path"
        raise ConfigError(f"{_told(reference)}: {reason}", hint=f"ls -l '{path}'") from None
    if len(content) > LARGEST:
        raise ConfigError(f"{_told(reference)}: larger than 64 KB, which no secret is")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{_told(reference)}: not UTF-8 text") from None
    if "\0" in text:
        raise ConfigError(f"{_told(reference)}: holds a zero byte, which no environment can pass on")
    return text.removesuffix("\n").removesuffix("\r")


def _of_keyring(reference: str, rest: str) -> str:
    service, _, user = rest.rpartition("/")
    try:
        import keyring
    except ImportError:
        raise ConfigError(
            f"{_told(reference)}: the package keyring is not installed",
            hint="install it with mdeploy: pip install 'modeldeploy[keyring]'",
        ) from None
    try:
        value = keyring.get_password(service, user)
    except Exception as error:  # noqa: BLE001 - every back end has its own; their words may hold anything
        raise ConfigError(
            f"{_told(reference)}: the keyring cannot be read ({type(error).__name__})",
            hint=f"see that it is unlocked: keyring get {service} {user}",
        ) from None
    if value is None:
        raise ConfigError(
            f"{_told(reference)}: the keyring has no such entry", hint=f"keyring set {service} {user}"
        )
    return value


def _of_plugin(reference: str, scheme: str, rest: str, root: Path) -> str:
    from importlib.metadata import entry_points

    (entry,) = tuple(entry_points(group=GROUP, name=scheme))[:1]
    try:
        value = entry.load()(rest, root)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - another package's; its words may hold the secret
        raise ConfigError(f"{_told(reference)}: {entry.value} raised {type(error).__name__}") from None
    if not isinstance(value, str):
        raise ConfigError(f"{_told(reference)}: {entry.value} gave no text")
    return value


def _foreign() -> set[str]:
    from importlib.metadata import entry_points  # 10 ms that only other schemes cost

    return set(entry_points(group=GROUP).names)


def _told(reference: str) -> str:
    return f"the secret {reference[:200]}"
