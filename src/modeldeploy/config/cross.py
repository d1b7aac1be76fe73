"""What one key of the project file says about another: targets that exist, platforms that are built.

Values need not have been checked: what is malformed is skipped here and told by the schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modeldeploy.config import places
from modeldeploy.config.names import closest
from modeldeploy.config.problems import Problem


def check(values: Mapping[str, Any]) -> list[Problem]:
    """All contradictions between keys."""
    return [*_policies(values), *_image(values), *_registry(values)]


def _policies(values: Mapping[str, Any]) -> Iterator[Problem]:
    targets, policies = _table(values, "targets"), _table(values, "policy")
    for name in policies:
        if name not in targets:
            yield Problem(("policy", name), *_no_such(name, targets))
            continue
        yield from _sources(name, policies, targets)
        policy = _table(policies, name)
        if "min_age" in policy and not policy.get("from"):
            told = "counts from when a target of `from` took the bundle as stable, and there is no `from`"
            yield Problem(("policy", name, "min_age"), told, "`from` beside it")
        if "signed" in _texts(policy.get("require")) and not _anybody_signs(values):
            told = "nobody's signatures count: signing.public_keys and signing.identities are empty"
            yield Problem(("policy", name, "require"), told, 'such as public_keys = ["cosign.pub"]')


def _sources(name: str, policies: Mapping[str, Any], targets: Mapping[str, Any]) -> Iterator[Problem]:
    for index, before in enumerate(_texts(_table(policies, name).get("from"))):
        at = ("policy", name, "from", index)
        if before not in targets:
            yield Problem(at, *_no_such(before, targets))
        elif before == name:
            yield Problem(at, f"nothing comes to {name} from {name} itself", "another target")
        elif name in _ways_to(before, policies):
            told = f"a circle: {before} takes only what comes from {name}, so nothing could ever begin"
            yield Problem(at, told, "targets that come before")


def _ways_to(target: str, policies: Mapping[str, Any]) -> set[str]:
    """All targets that a bundle may have been on before this one."""
    seen: set[str] = set()
    waiting = [target]
    while waiting:
        for before in _texts(_table(policies, waiting.pop()).get("from")):
            if before not in seen:
                seen.add(before)
                waiting.append(before)
    return seen


def _no_such(name: str, targets: Mapping[str, Any]) -> tuple[str, str, str | None]:
    known = [str(target) for target in targets]
    expected = f"one of {', '.join(known)}" if known else "a target, and there is none"
    return f"there is no target '{name[:60]}'", expected, closest(name, known)


def _anybody_signs(values: Mapping[str, Any]) -> bool:
    signing = _table(values, "signing")
    return bool(signing.get("public_keys") or signing.get("identities"))


def _image(values: Mapping[str, Any]) -> Iterator[Problem]:
    image = _table(values, "image")
    if image.get("engine", "none") == "none":
        engine = 'engine = "docker", "podman" or "buildah" beside it'
        if image.get("run"):
            yield Problem(("image", "run"), "only an engine can run commands", engine)
        if image.get("packages") and image.get("base", places.DEBIAN) != places.DEBIAN:
            told = "mdeploy itself adds packages only to its own base"
            yield Problem(("image", "packages"), told, f'base = "debian", or {engine}')
    locked = _table(values, "build").get("platforms", list(places.PLATFORMS))
    for index, platform in enumerate(_texts(image.get("platforms"))):
        if platform in places.PLATFORMS and platform not in _texts(locked):
            told = f"the bundle is not made for {platform}"
            yield Problem(("image", "platforms", index), told, "one of build.platforms")


def _registry(values: Mapping[str, Any]) -> Iterator[Problem]:
    registry = _table(values, "registry")
    for one, other in (("username", "password"), ("password", "username")):
        if one in registry and other not in registry:
            yield Problem(("registry", one), f"needs registry.{other} beside it", f"both, or none: {_ELSE}")


_ELSE = "without them, Docker's configuration is asked"


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = values.get(name)
    return table if isinstance(table, dict) else {}


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
