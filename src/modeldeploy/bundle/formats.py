"""What a model file is, told from its content: never from its name, and never by loading it."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from modeldeploy.bundle import onnxfile
from modeldeploy.errors import BundleError

ONNX = "onnx"
CUSTOM = "custom"
"""A model that only the project's own service understands."""
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".sav", ".dill", ".p")
"""How the names of files end that are pickles even where their first bytes do not say so."""

_OWN_SERVICE = 'write your own BentoML service and name it: [service] entrypoint = "service:NAME"'
_EXPORT = f"export it to ONNX, or {_OWN_SERVICE}"
_HEAD = 512

_PICKLE = "a Python pickle (scikit-learn and joblib write these)"
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive (PyTorch .pt, Keras .keras and NumPy .npz are such)"),
    (b"\x80\x02", _PICKLE),
    (b"\x80\x03", _PICKLE),
    (b"\x80\x04", _PICKLE),
    (b"\x80\x05", _PICKLE),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras .h5)"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"GGUF", "a GGUF model"),
    (b"binf", "an XGBoost model"),
    (b"tree\nversion=", "a LightGBM model"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program (ELF)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"#!", "a script"),
)
_INSIDE: tuple[tuple[int, bytes, str], ...] = (
    (4, b"TFL3", "a TensorFlow Lite model"),
    (4, b"ORTM", "a model in ONNX Runtime's own format (.ort)"),
    (8, b'{"', "a safetensors file"),
    (257, b"ustar", "a tar archive"),
)


def framework_of(model: Path, *, own_service: bool) -> str:
    """The framework of a model file, at a glance.

    With ``own_service`` any content will do. Raises `BundleError` with what was found in place of a model,
    and what to do.
    """
    try:
        onnxfile.glance(model)
    except onnxfile.NotOnnx as error:
        if own_service:
            return CUSTOM
        raise _not_onnx(model, _head(model), str(error)) from error
    except onnxfile.Damaged as error:
        raise _damaged(model, error) from error
    return ONNX


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
            raise BundleError(f"{model} is a folder or a device; expected a model file", hint=_EXPORT)
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


def _not_onnx(model: Path, head: bytes, reason: str) -> BundleError:
    kind = _kind(head)
    if kind == _PICKLE:
        return BundleError(
            f"{model.name} is {kind}; this version of mdeploy serves ONNX models and does not unpickle",
            hint=f"convert it (skl2onnx), or {_OWN_SERVICE}",
        )
    if kind:
        return BundleError(f"{model.name} is {kind}; expected an ONNX model", hint=_EXPORT)
    return BundleError(f"{model.name} is no ONNX model: {reason}; it starts with {head[:12]!r}", hint=_EXPORT)


def _kind(head: bytes) -> str | None:
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    for offset, mark, kind in _INSIDE:
        if head[offset:].startswith(mark):
            return kind
    return "a JSON text" if head.lstrip().startswith((b"{", b"[")) else None


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
