"""Why Envoy would refuse a configuration: it tells only in its log, unless asked beforehand."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path

from modeldeploy.errors import TargetUnavailable
from modeldeploy.router.ingress import Document
from modeldeploy.router.render import as_bytes
from modeldeploy.shell import ToolFailed, run


def problem(
    envoy: Path, bootstrap: Document, listeners: Document, clusters: Document, routes: Document
) -> str | None:
    """Envoy's own reason to refuse these documents, None where it would take them. Takes 0.1 to 0.2 s.

    What only shows in earnest (a port in use, say) is not found. Raises `TargetUnavailable` where
    Envoy does not say anything.
    """
    try:
        document = _inlined(bootstrap, listeners, clusters, routes)
    except (LookupError, TypeError, AttributeError) as error:
        return f"a file is not of the form that mdeploy writes: {type(error).__name__} {error}"
    with tempfile.TemporaryDirectory(prefix="mdeploy-") as folder:
        path = Path(folder) / "bootstrap.json"
        path.write_bytes(as_bytes(document))
        command = [str(envoy), "--mode", "validate", "--config-path", str(path), "--log-level", "critical"]
        try:
            run([*command, "--log-format", "%v", "--disable-hot-restart"], timeout=20)
        except ToolFailed as error:
            if error.completed is None:
                raise TargetUnavailable(
                    f"cannot ask Envoy about its configuration: {error.message}"
                ) from error
            return _reason(error.completed.errors, path)
    return None


def _inlined(bootstrap: Document, listeners: Document, clusters: Document, routes: Document) -> Document:
    """One static document: Envoy does not read its dynamic files when it validates."""
    rest = {name: value for name, value in bootstrap.items() if name not in ("dynamic_resources", "admin")}
    static = {"listeners": _untyped(listeners), "clusters": _untyped(clusters)}
    for listener in static["listeners"]:
        for chain in listener["filter_chains"]:
            for entry in chain["filters"]:
                if entry["typed_config"].pop("rds", None):
                    entry["typed_config"]["route_config"] = _untyped(routes)[0]
    return {**rest, "static_resources": static}


def _untyped(document: Document) -> list[Document]:
    """Copies of a document's resources, without the type that only dynamic ones are allowed to state."""
    resources = deepcopy(document["resources"])
    for resource in resources:
        resource.pop("@type", None)
    return list(resources)


def _reason(errors: str, path: Path) -> str:
    text = " ".join(errors.split())
    return text.removeprefix(f"error initializing configuration '{path}':").strip() or "no reason given"
