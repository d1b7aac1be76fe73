"""The frameworks that mdeploy makes services for: what each is called, and which packages it runs on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

ONNX, SKLEARN, XGBOOST, LIGHTGBM = "onnx", "sklearn", "xgboost", "lightgbm"
TENSORFLOW, TORCH, PYTHON = "tensorflow", "torch", "python"
CUSTOM = "custom"
"""A model that only the project's own service understands."""

CALLED = {
    ONNX: "an ONNX model",
    SKLEARN: "a scikit-learn model",
    XGBOOST: "an XGBoost model",
    LIGHTGBM: "a LightGBM model",
    TENSORFLOW: "a TensorFlow SavedModel",
    TORCH: "a PyTorch model",
    PYTHON: "a model of a class of the project's",
    CUSTOM: "no model that mdeploy knows",
}
_X86 = "sys_platform == 'linux' and platform_machine == 'x86_64'"
_NOT_X86 = "sys_platform != 'linux' or platform_machine != 'x86_64'"
PACKAGES: dict[str, tuple[str, ...]] = {
    ONNX: ("onnxruntime>=1.20,<2",),
    SKLEARN: ("scikit-learn>=1.6,<2", "skops>=0.11,<1"),
    XGBOOST: (
        "xgboost-cpu>=2.1,<4; sys_platform == 'linux'",
        "xgboost>=2.1,<4; sys_platform != 'linux'",
    ),
    LIGHTGBM: ("lightgbm>=4.5,<5", "scikit-learn>=1.6,<2"),
    TENSORFLOW: (f"tensorflow-cpu>=2.18,<3; {_X86}", f"tensorflow>=2.18,<3; {_NOT_X86}"),
    TORCH: ("torch>=2.6,<3",),
}
"""What a framework's models run on, besides what every bundle has."""
TABLES = "pandas>=2.2,<4"
"""What columns of several types are put together with."""
_ALIKE = (
    {"onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"},
    {"xgboost", "xgboost-cpu"},
    {"tensorflow", "tensorflow-cpu", "tensorflow-macos", "tensorflow-rocm"},
)
"""Packages that bring the same module: one that the project names stands in for ours."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def packages(frameworks: Iterable[str], named: Sequence[str], *, tables: bool = False) -> tuple[str, ...]:
    """Requirements of some frameworks. ``named``: what the project requires, which comes before ours.

    ``tables``: a model takes columns of several types, which need pandas to be put together.
    """
    ours = [each for framework in frameworks for each in PACKAGES.get(framework, ())]
    taken = {_package(each) for each in named}
    taken |= {name for family in _ALIKE if family & taken for name in family}
    return tuple(each for each in (*ours, *([TABLES] if tables else ())) if _package(each) not in taken)


def versions(frameworks: Iterable[str], pinned: Sequence[tuple[str, str]]) -> list[str]:
    """The pins of a lock that decide how models of these frameworks are read. ``pinned``: name, version."""
    wanted = {_package(each) for framework in frameworks for each in PACKAGES.get(framework, ())}
    wanted |= {name for family in _ALIKE if family & wanted for name in family}
    return sorted(f"{name}=={version}" for name, version in pinned if name in wanted)


def _package(requirement: str) -> str:
    found = _NAME.match(requirement.strip())
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""
