"""What a project file may say and yet is worth a thought: warnings, never errors."""

from __future__ import annotations

import ipaddress
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from modeldeploy.config import secrets
from modeldeploy.config.positions import KeyPath
from modeldeploy.config.problems import dotted
from modeldeploy.config.schema import ProcessTargetTable, ProjectFile, TargetTable
from modeldeploy.model import Finding, Level

_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|(?:^|_)PWD(?:$|_)",
    re.IGNORECASE,
)
_NAME_OF_A_PLACE = re.compile(r"_(?:FILE|PATH|DIR|URL|NAME|ID|TTL|LIMIT|COUNT)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:@]+:[^/\s@]+@|^(?:AKIA|ASIA)[0-9A-Z]{16}$|^gh[pousr]_\w{20,}"
    r"|^github_pat_|^glpat-|^xox[abprs]-|^sk-[\w-]{16,}|^hf_\w{20,}|^eyJ[\w-]{10,}\.[\w-]+\."
)

_IN_THE_BUNDLE = ("model", "models", "service", "build", "metadata")

Locate = Callable[[KeyPath], str]


def give(
    file: ProjectFile, root: Path, locate: Locate, overlaid: Mapping[str, object] | None = None
) -> Iterator[Finding]:
    """Warnings about a valid project file; ``locate`` tells where a key is. No value of `env` is shown.

    ``overlaid`` are the tables of its environments, as they are in the file.
    """
    for name, target in file.targets.items():
        yield from _secrets(name, target, locate)
        yield from _without_effect(name, target, locate)
        if isinstance(target, ProcessTargetTable):
            yield from _open_to_the_network(name, target, locate)
    yield from _not_routed(file, locate)
    yield from _same_port(file, locate)
    yield from _registry(file, locate)
    yield from _references(file, root, locate)
    yield from _bundles_differ(overlaid, locate)
    yield from _without_files(file, root, locate)


def _warning(key: KeyPath, locate: Locate, message: str, remedy: str) -> Finding:
    return Finding("config", Level.WARNING, f"{dotted(key)}: {message}", remedy, locate(key))


def looks_secret(name: str, value: str) -> bool:
    """True if an environment variable's name or value is one that secrets have."""
    named = _SECRET_NAME.search(name) is not None and _NAME_OF_A_PLACE.search(name) is None
    return (named and bool(value)) or _SECRET_VALUE.search(value) is not None


def _secrets(name: str, target: TargetTable, locate: Locate) -> Iterator[Finding]:
    for variable, value in target.env.items():
        text = value.get_secret_value()
        if not secrets.is_reference(text) and looks_secret(variable, text):
            yield _warning(
                ("targets", name, "env", variable),
                locate,
                "looks like a secret, and this file is made to be shared",
                f'write a reference, such as {variable} = "secret:env:{variable}"; if it was committed, '
                "replace the secret itself",
            )


def _without_effect(name: str, target: TargetTable, locate: Locate) -> Iterator[Finding]:
    rollout = target.rollout
    if rollout.strategy != "canary" and "steps" in rollout.model_fields_set:
        yield _warning(
            ("targets", name, "rollout", "steps"),
            locate,
            f'only a canary has steps; with strategy = "{rollout.strategy}" they have no effect',
            'remove them, or write strategy = "canary"',
        )


def _open_to_the_network(name: str, target: ProcessTargetTable, locate: Locate) -> Iterator[Finding]:
    if not ipaddress.ip_address(target.host).is_loopback:
        yield _warning(
            ("targets", name, "host"),
            locate,
            f"on {target.host}, everyone who reaches this machine can use the model, without a password",
            'write host = "127.0.0.1" unless you want that',
        )


def _not_routed(file: ProjectFile, locate: Locate) -> Iterator[Finding]:
    local = [name for name, target in file.targets.items() if isinstance(target, ProcessTargetTable)]
    if local and "grpc" in file.service.protocols:
        yield _warning(
            ("service", "protocols"),
            locate,
            f"the driver 'process' routes HTTP only, so nobody reaches gRPC on {', '.join(local)}",
            "ask by HTTP there, or serve gRPC from an image, on port 3001",
        )


def _same_port(file: ProjectFile, locate: Locate) -> Iterator[Finding]:
    local = [
        (name, target) for name, target in file.targets.items() if isinstance(target, ProcessTargetTable)
    ]
    for (first, one), (second, other) in itertools.combinations(local, 2):
        if one.port == other.port:
            yield _warning(
                ("targets", second, "port"),
                locate,
                f"targets.{first} has port {one.port} too, so that only one of them can run at a time",
                "give one of them another port",
            )


def _registry(file: ProjectFile, locate: Locate) -> Iterator[Finding]:
    registry = file.registry
    bucket = (registry.url or "").startswith("s3://")
    for_other = ("username", "password", "ca") if bucket else ("profile", "region", "endpoint")
    for key in for_other:
        if key in registry.model_fields_set:
            told = "has no effect on a bucket" if bucket else "has an effect on an s3:// registry only"
            yield _warning(("registry", key), locate, told, "remove it")


def _references(file: ProjectFile, root: Path, locate: Locate) -> Iterator[Finding]:
    """Secrets that are not there, or that others can read; keyrings and plugins are not asked."""
    for key, text in _secret_texts(file):
        path = secrets.file_of(text, root)
        name = text.removeprefix("secret:env:")
        if name != text and name not in os.environ:
            yield _warning(key, locate, f"{name} is not set here", f"export {name}=... where it is needed")
        elif path and not path.is_file():
            yield _warning(key, locate, f"there is no file {path}", "put the secret there where it is needed")
        elif path and path.stat().st_mode & 0o004:
            told = f"every user of this machine can read {path}"
            yield _warning(key, locate, told, f"chmod 600 '{path}'")


def _secret_texts(file: ProjectFile) -> Iterator[tuple[KeyPath, str]]:
    for name, target in file.targets.items():
        for variable, value in target.env.items():
            yield ("targets", name, "env", variable), value.get_secret_value()
    for key, own in (("username", file.registry.username), ("password", file.registry.password)):
        if own is not None:
            yield ("registry", key), own.get_secret_value()


def _bundles_differ(overlaid: Mapping[str, object] | None, locate: Locate) -> Iterator[Finding]:
    """An environment that changes what is in the bundle has other bundles than the one before it."""
    for name, table in (overlaid or {}).items():
        for key in _IN_THE_BUNDLE:
            if isinstance(table, dict) and key in table:
                yield _warning(
                    ("env", name, key),
                    locate,
                    f"bundles built with --env {name} are others than those built without, so what was "
                    "tested elsewhere is not what runs there",
                    "overlay targets, registry, signing and policy only, and promote one bundle",
                )


def _without_files(file: ProjectFile, root: Path, locate: Locate) -> Iterator[Finding]:
    for index, pattern in enumerate(file.build.include):
        if not _matches_any(root, pattern):
            yield _warning(
                ("build", "include", index),
                locate,
                f"no file matches {pattern}",
                "correct or remove the pattern",
            )


def _matches_any(root: Path, pattern: str) -> bool:
    try:
        return next(root.glob(pattern), None) is not None
    except (OSError, ValueError, NotImplementedError):
        return False
