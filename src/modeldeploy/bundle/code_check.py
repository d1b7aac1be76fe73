"""The project's own code that a service names: it is there, it goes into the bundle, it has that name.

Looked at as text: nothing of the project is run.
"""

from __future__ import annotations

import ast
import difflib
from pathlib import Path

from modeldeploy.bundle.sources import Found
from modeldeploy.errors import BundleError

_SERVICE = "[service] entrypoint"


def insist(key: str, named: str, found: Found) -> None:
    """Raises `BundleError` unless ``module:name`` is among the files of the bundle to be.

    ``key`` is where the project file says so, e.g. ``[service] entrypoint``.
    """
    module, _, name = named.partition(":")
    path = module.replace(".", "/")
    real = found.files.get(f"{path}.py") or found.files.get(f"{path}/__init__.py")
    if real is None:
        there = [file for file in found.files if file.endswith(".py")]
        raise BundleError(
            f"{key} is '{named}', but [build] include does not take in {path}.py",
            hint=f"it takes in {', '.join(there[:8])}" if there else f'set include = ["{path}.py"]',
        )
    # Of a service, BentoML tells by itself which ones there are.
    defined = None if key == _SERVICE else _defined(real)
    if defined is not None and name not in defined:
        near = difflib.get_close_matches(name, defined, n=1)
        raise BundleError(
            f"{key} is '{named}', but {real.name} has no {name}",
            hint=f"did you mean '{module}:{near[0]}'?" if near else f"define {name} in it",
        )


def _defined(file: Path) -> set[str] | None:
    """Names that a module defines; None where that shows only when it runs."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
        return None  # Python tells it better when the service is made
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            if node.name == "*":
                return None
            names.add((node.asname or node.name).partition(".")[0])
    return None if "__getattr__" in names else names
