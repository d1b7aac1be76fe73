"""What a model file is, told from its content: never from its name, and never by loading it."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modeldeploy.bundle import archives, mistakes, onnxfile
from modeldeploy.bundle.frameworks import (
    CALLED,
    CUSTOM,
    LIGHTGBM,
    ONNX,
    PYTHON,
    SKLEARN,
    TENSORFLOW,
    TORCH,
    XGBOOST,
)
from modeldeploy.errors import BundleError

PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".sav", ".dill", ".p")
"""How the names of files end that are pickles even where their first bytes do not say so."""
_HEAD = 512
_PICKLE = re.compile(rb"\x80[\x02-\x05]|\x1f\x8b|BZh|\xfd7zXZ|x[\x01\x5e\x9c\xda]|\x5d\x00\x00")
"""How pickles begin, also those that joblib has compressed."""
_XGBOOST = re.compile(rb'\s*\{\s*"learner"\s*:|\{[LlIiUu]\x00*\x07learner')
"""How its JSON and its UBJSON begin."""
_LIGHTGBM = re.compile(rb"tree\r?\nversion=")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a model is. ``options``: what its framework's runtime must know to load it."""

    framework: str
    options: Mapping[str, str] = field(default_factory=dict)


def recognise(model: Path, *, insisted: str | None = None, own_service: bool = False) -> Kind:
    """What a model is, at a glance. ``insisted``: the framework that the project names.

    With ``own_service`` any content will do. Raises `BundleError` with what was found in place of a model,
    and what to do.
    """
    if own_service:
        found = Kind(_for_own_service(model))
    elif insisted == PYTHON:
        _head(model) if model.is_file() else _folder_exists(model)
        return Kind(PYTHON)
    else:
        found = _folder(model) if model.is_dir() else _file(model, insisted)
    if insisted not in {None, found.framework}:
        raise BundleError(
            f"[model] framework is '{insisted}', but {model.name} is {CALLED[found.framework]}",
            hint="leave framework out, or give the model's path that you meant",
        )
    return found


def _for_own_service(model: Path) -> str:
    if model.is_dir():
        return CUSTOM
    refuse_mistakes(model)
    try:
        onnxfile.glance(model)
    except onnxfile.NotOnnx:
        return CUSTOM
    except onnxfile.Damaged as error:
        raise _damaged(model, error) from error
    return ONNX


def _folder_exists(model: Path) -> None:
    if not model.exists():
        raise BundleError(
            f"cannot read the model {model}: no such file or folder", hint="set [model] path to it"
        )


def _folder(model: Path) -> Kind:
    if (model / "saved_model.pb").is_file():
        return Kind(TENSORFLOW)
    raise mistakes.folder(model)


def _file(model: Path, insisted: str | None) -> Kind:
    refuse_mistakes(model)
    head = _head(model)
    if head.startswith(b"PK\x03\x04"):
        return _archive(model)
    if _XGBOOST.match(head):
        return Kind(XGBOOST)
    if _LIGHTGBM.match(head):
        return Kind(LIGHTGBM)
    if insisted == SKLEARN and _PICKLE.match(head):
        return Kind(SKLEARN, {"format": "pickle"})
    try:
        onnxfile.glance(model)
    except onnxfile.NotOnnx as error:
        raise mistakes.file(model, head, str(error)) from error
    except onnxfile.Damaged as error:
        raise _damaged(model, error) from error
    return Kind(ONNX)


def _archive(model: Path) -> Kind:
    try:
        kind = archives.kind_of(model)
    except ValueError as error:
        raise mistakes.damaged(model, str(error)) from error
    if kind == archives.SKOPS:
        return Kind(SKLEARN, {"format": kind})
    if kind in {archives.EXPORTED, archives.SCRIPT}:
        return Kind(TORCH, {"format": str(kind)})
    raise mistakes.archive(model, kind)


def external_data(model: Path) -> tuple[str, ...]:
    """Names of the files that hold more of an ONNX model's weights. Raises `BundleError` for damage."""
    try:
        return onnxfile.survey(model).external
    except (onnxfile.Damaged, onnxfile.NotOnnx) as error:
        raise _damaged(model, error) from error


def _damaged(model: Path, error: ValueError) -> BundleError:
    return BundleError(
        f"{model.name} is an ONNX model with damage: {error}",
        hint="copy or export it again; compare its size with the original's",
    )


def _head(model: Path) -> bytes:
    try:
        if not stat.S_ISREG(model.stat().st_mode):
            raise BundleError(f"{model} is a folder or a device; expected a model file", hint=mistakes.EXPORT)
        with model.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError as error:
        raise BundleError(
            f"cannot read the model {model}: {error.strerror}", hint="set [model] path to the model's file"
        ) from error


def refuse_mistakes(model: Path) -> None:
    """Raises `BundleError` for what is no model in any framework: nothing, a folder, a web page."""
    head = _head(model)
    if not head:
        raise BundleError(f"{model.name} is empty (0 bytes)", hint="export the model again")
    if head.startswith(b"version https://git-lfs"):
        raise BundleError(f"{model.name} is a pointer of Git LFS, not the model itself", hint="git lfs pull")
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise BundleError(
            f"{model.name} is a web page, not a model: its download failed", hint="download the model again"
        )


def beside(model: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """The files with external tensors. Raises `BundleError` unless each is in the model's own folder."""
    found = []
    homes = {model.parent.resolve(), model.resolve().parent}
    for location in names:
        path = model.parent / location
        if Path(location).name != location or path.resolve().parent not in homes:
            raise BundleError(
                f"{model.name} keeps weights in {location!r}; only files beside the model are followed",
                hint="save it with its external data in its own folder (onnx.save, location=FILENAME)",
            )
        if not path.is_file():
            raise BundleError(
                f"{model.name} keeps weights in {location!r}, which is not beside it",
                hint="copy that file too, or save the model as one file (save_as_external_data=False)",
            )
        found.append(path)
    return tuple(found)
