"""The files that a project file names: they are there, they are files, and they stay in the project."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from modeldeploy.config import names, places, secrets, values
from modeldeploy.config.positions import KeyPath
from modeldeploy.config.problems import Problem

_FILE = "a file"
_FOLDER = "a folder"
_BROKEN = "a link to a file that is not there"
_ABSENT = "not there"
_MOST_FILES = 20_000


def check(root: Path, content: Mapping[str, Any], may_be_missing: Collection[str] = ()) -> list[Problem]:
    """Problems with the named files. ``content`` need not have been checked: what is malformed is skipped."""
    return [
        *_file(root, content, ("model", "path"), missing_allowed="model.path" in may_be_missing),
        *_file(root, content, ("model", "golden"), missing_allowed="model.golden" in may_be_missing),
        *_models(root, content, may_be_missing),
        *_own_code(root, content),
        *_envoys(root, content),
        *_public_files(root, content),
        *_secrets_in_the_bundle(root, content),
    ]


def _models(root: Path, content: Mapping[str, Any], may_be_missing: Collection[str]) -> Iterator[Problem]:
    for name in _table(content, "models"):
        yield from _file(
            root, content, ("models", name, "path"), missing_allowed=f"models.{name}.path" in may_be_missing
        )


def _file(root: Path, content: Mapping[str, Any], at: KeyPath, *, missing_allowed: bool) -> Iterator[Problem]:
    table = _at(content, at[:-1])
    name = _said(table, str(at[-1]))
    if not name or values.outside(name):
        return
    own = bool(_text(content, "service", "entrypoint"))
    folder_allowed = at[-1] == "path" and (own or _may_be_folder(root / name, _said(table, "framework")))
    fault = _fault(root / name, root, folder_allowed=folder_allowed)
    if fault == _ABSENT and missing_allowed:
        return
    if fault == _ABSENT:
        remedy = ": record it with 'mdeploy golden'" if at[-1] == "golden" else ""
        near = _near(root / name, root)
        yield Problem(at, f"there is no file {name}{remedy}", "a file in the project's folder", near)
    elif fault:
        yield Problem(at, f"{name} is {fault}", "a file in the project's folder")


def _may_be_folder(path: Path, framework: str) -> bool:
    """True where a model is a folder of files: a SavedModel of TensorFlow, or what one's own class reads."""
    return framework in ("tensorflow", "python") or (not framework and (path / "saved_model.pb").is_file())


def _fault(path: Path, root: Path, *, folder_allowed: bool) -> str:
    """What keeps this path from being one of the project's files; empty if nothing does."""
    kind = _kind(path)
    if kind in (_FILE, _FOLDER) and _leads_out(path, root):
        return "a link that leads out of the project's folder"
    return "" if kind == _FILE or (kind == _FOLDER and folder_allowed) else kind


def _own_code(root: Path, content: Mapping[str, Any]) -> Iterator[Problem]:
    """Services, hooks and classes of the project's own: their modules are there, and go into the bundle."""
    named: list[KeyPath] = [("service", key) for key in ("entrypoint", "preprocess", "postprocess")]
    named += [("model", "class"), *(("models", name, "class") for name in _table(content, "models"))]
    for at in named:
        code = _said(_at(content, at[:-1]), str(at[-1]))
        if names.matches(names.ENTRYPOINT, code):
            fault = _module(root, at, code)
            if fault:
                yield fault
            elif not _table(content, "build").get("include"):
                whose = "your service" if at[-1] == "entrypoint" else code
                expected = 'patterns such as ["*.py"]'
                yield Problem(("build", "include"), f"the code of {whose} is not in the bundle", expected)
                return


def _module(root: Path, at: KeyPath, code: str) -> Problem | None:
    module, _, name = code.partition(":")
    path = module.replace(".", "/")
    if _FILE in (_kind(root / f"{path}.py"), _kind(root / path / "__init__.py")):
        return None
    near = _near(root / f"{path}.py", root)
    meant = near and f"{near.removesuffix('.py').replace('/', '.')}:{name}"
    return Problem(at, f"there is no file {path}.py", "a module in the project's folder", meant)


def _envoys(root: Path, content: Mapping[str, Any]) -> Iterator[Problem]:
    for name, target in _table(content, "targets").items():
        is_process = isinstance(target, dict) and target.get("driver") == names.PROCESS
        envoy = target.get("envoy") if is_process else None
        # A name without a slash is looked up on PATH, and `doctor` tells what was found there.
        if not isinstance(envoy, str) or "/" not in envoy or not envoy.isprintable():
            continue
        at = ("targets", name, "envoy")
        if _kind(root / envoy) != _FILE:
            yield Problem(at, f"there is no file {envoy}", "the path to an Envoy program")
        elif not os.access(root / envoy, os.X_OK):
            yield Problem(at, f"{envoy} may not be run", f"a program (chmod +x '{envoy}' makes it one)")


def _public_files(root: Path, content: Mapping[str, Any]) -> Iterator[Problem]:
    """Certificates and public keys, which everybody needs who works on the project."""
    ca = _text(content, "registry", "ca")
    keys = _table(content, "signing").get("public_keys")
    named: list[tuple[tuple[str | int, ...], str, str]] = (
        [(("registry", "ca"), ca, "a certificate")] if ca else []
    )
    for index, key in enumerate(keys if isinstance(keys, list) else ()):
        if isinstance(key, str) and not places.is_reference(key):
            named.append((("signing", "public_keys", index), key, "a public key"))
    for at, name, what in named:
        if name.isprintable() and _kind(root / name) != _FILE:
            remedy = ": make a pair of keys with 'mdeploy keygen'" if what == "a public key" else ""
            yield Problem(at, f"there is no file {name}{remedy}", f"a file with {what} as PEM")


def _secrets_in_the_bundle(root: Path, content: Mapping[str, Any]) -> Iterator[Problem]:
    """Files with secrets that a pattern of `build.include` would put into every bundle."""
    named = list(_secret_files(root, content))
    build = _table(content, "build")
    if not named or not build.get("include"):
        return  # looking through the folder would take its time
    included, excluded = (_matching(root, build.get(key)) for key in ("include", "exclude"))
    for at, path in named:
        real = _real(path)
        if real in included and real not in excluded:
            yield Problem(at, "build.include puts this file into every bundle", "a file outside the bundle")


def _secret_files(root: Path, content: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Path]]:
    named: dict[KeyPath, str] = {
        ("registry", key): _text(content, "registry", key) for key in ("username", "password")
    }
    for name, target in _table(content, "targets").items():
        env = target.get("env") if isinstance(target, dict) else None
        for variable, value in env.items() if isinstance(env, dict) else ():
            named["targets", name, "env", variable] = value if isinstance(value, str) else ""
    key = _text(content, "signing", "key")
    if key and key.isprintable() and not places.is_reference(key):
        yield ("signing", "key"), root / key
    for at, text in {**named, ("signing", "key"): key}.items():
        path = secrets.file_of(text, root)
        if path and text.isprintable():
            yield at, path


def _matching(root: Path, patterns: object) -> set[Path]:
    found: set[Path] = set()
    for pattern in patterns if isinstance(patterns, list) else ():
        if isinstance(pattern, str) and not values.outside(pattern):
            with suppress(OSError, ValueError, NotImplementedError):
                for path in itertools.islice(root.glob(pattern), _MOST_FILES):
                    found.update(map(_real, path.rglob("*") if path.is_dir() else [path]))
    return found


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def _kind(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return _BROKEN if path.name in _links(path.parent) else _ABSENT
    return _FILE if stat.S_ISREG(mode) else _FOLDER if stat.S_ISDIR(mode) else "neither a file nor a folder"


def _links(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in folder.iterdir() if entry.is_symlink()}
    except (OSError, ValueError):
        return set()


def _leads_out(path: Path, root: Path) -> bool:
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link to itself
        return False


def _near(path: Path, root: Path) -> str | None:
    """A file beside it with a similar name, or of the same kind where there is only one."""
    try:
        beside = sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())[:1000]
    except OSError:
        return None
    same_kind = [name for name in beside if Path(name).suffix == path.suffix and path.suffix]
    near = names.closest(path.name, beside) or (same_kind[0] if len(same_kind) == 1 else None)
    return str((path.parent / near).relative_to(root)) if near else None


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = content.get(name)
    return table if isinstance(table, dict) else {}


def _at(content: Mapping[str, Any], path: KeyPath) -> Mapping[str, Any]:
    for part in path:
        content = _table(content, str(part))
    return content


def _said(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    return value if isinstance(value, str) else ""


def _text(content: Mapping[str, Any], table: str, key: str) -> str:
    value = _table(content, table).get(key)
    return value if isinstance(value, str) else ""
