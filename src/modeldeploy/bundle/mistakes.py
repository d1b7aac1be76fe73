"""What to say where a model's file is something else: what it is, and the line that exports a model."""

from __future__ import annotations

from pathlib import Path

from modeldeploy.bundle import archives
from modeldeploy.errors import BundleError

OWN_SERVICE = 'write your own BentoML service and name it: [service] entrypoint = "service:NAME"'
_CLASS = 'name a class of yours that loads it: [model] framework = "python" and class = "module:Class"'
EXPORT = f"export it to ONNX; or {_CLASS}; or {OWN_SERVICE}"
_SKOPS = 'skops.io.dump(model, "model.skops")'
_TORCH = (
    "program = torch.export.export(model.eval(), (example,), "
    'dynamic_shapes=({0: torch.export.Dim("batch")},)); '
    'torch.export.save(program, "model.pt2")'
)
_TENSORFLOW = 'model.export("model")'
_XGBOOST = 'booster.save_model("model.ubj")'
_LIGHTGBM = 'booster.save_model("model.txt")'
_DAMAGE = "copy or export it again; compare its size with the original's"

_PICKLE = "a Python pickle (scikit-learn and joblib write these)"
_KERAS = "an HDF5 file (Keras .h5)"
_HINTS = {
    _PICKLE: f"export it without code in it, where it was trained: {_SKOPS} (scikit-learn), {_XGBOOST},"
    f' {_LIGHTGBM}; or trust it: [model] framework = "sklearn" and [scan.trust] "FILE" = "why"; or '
    + OWN_SERVICE,
    _KERAS: f'load it where it was trained and export a SavedModel: {_TENSORFLOW}, then path = "model"; or '
    + OWN_SERVICE,
    "an XGBoost model in its old binary format": f"load it with XGBoost before 3.1, save it anew: {_XGBOOST};"
    f" or {OWN_SERVICE}",
    "a JSON text": f"of XGBoost save the model, not a dump: {_XGBOOST}; of LightGBM too: {_LIGHTGBM}; or "
    + OWN_SERVICE,
}
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x80\x02", _PICKLE),
    (b"\x80\x03", _PICKLE),
    (b"\x80\x04", _PICKLE),
    (b"\x80\x05", _PICKLE),
    (b"\x89HDF\r\n\x1a\n", _KERAS),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"GGUF", "a GGUF model"),
    (b"binf", "an XGBoost model in its old binary format"),
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
_ARCHIVES = {
    archives.KERAS: (
        "a Keras model (.keras)",
        f'load it where it was trained and export a SavedModel: {_TENSORFLOW}, then path = "model"',
    ),
    archives.CHECKPOINT: (
        "what torch.save writes: a pickle of weights or of a whole model, which needs its class to run",
        f"export it where its class is: {_TORCH}",
    ),
    archives.ARRAYS: ("a file of NumPy arrays (.npz)", EXPORT),
    archives.BOMB: ("a zip bomb: it unpacks to hundreds of times its size", "get the model from elsewhere"),
    None: ("a zip archive of no kind that holds a model", EXPORT),
}


def file(model: Path, head: bytes, reason: str) -> BundleError:
    """What a file is that begins with ``head`` and is no model; ``reason``: why it is no ONNX model."""
    kind = _kind(head)
    if kind:
        hint = _HINTS.get(kind, EXPORT).replace("FILE", model.name)
        return BundleError(f"{model.name} is {kind}; expected a model", hint=hint)
    return BundleError(f"{model.name} is no ONNX model: {reason}; it starts with {head[:12]!r}", hint=EXPORT)


def archive(model: Path, kind: str | None) -> BundleError:
    """What a zip archive is that is no model."""
    told, hint = _ARCHIVES[kind]
    return BundleError(
        f"{model.name} is {told}", hint=hint if OWN_SERVICE in hint else f"{hint}; or {OWN_SERVICE}"
    )


def damaged(model: Path, reason: str) -> BundleError:
    """A file that is cut off, or whose parts contradict each other."""
    return BundleError(f"{model.name} is damaged: {reason}", hint=_DAMAGE)


def folder(model: Path) -> BundleError:
    """What a folder is that is no model."""
    inside = sorted(path.name for path in model.iterdir())[:6]
    told = f"it holds {', '.join(inside)}" if inside else "it is empty"
    hint = f'TensorFlow: {_TENSORFLOW}; a class of your own: [model] framework = "python"; or {OWN_SERVICE}'
    if (model / "MLmodel").is_file():
        hint = "it is MLflow's: set [model] path to the model's file in it"
    return BundleError(
        f"{model} is a folder or a device, no SavedModel (no saved_model.pb): {told}; expected a model file",
        hint=hint,
    )


def _kind(head: bytes) -> str | None:
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    for offset, mark, kind in _INSIDE:
        if head[offset:].startswith(mark):
            return kind
    return "a JSON text" if head.lstrip().startswith((b"{", b"[")) else None
