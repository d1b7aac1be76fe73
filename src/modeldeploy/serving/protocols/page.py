"""The try-it page: one HTML document without anything from elsewhere, which asks this service itself."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

from ..spec import ServiceSpec, TensorSpec
from .identity import Identity
from .openapi import example
from .page_parts import BODY, SCRIPT, STYLE

_ALLOWED = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
POLICY = (("content-security-policy", _ALLOWED), ("x-content-type-options", "nosniff"))
"""Headers of the page: it may talk to this service and to nobody else."""


def page(spec: ServiceSpec, who: Identity) -> bytes:
    """The document, in UTF-8, with an example request that the signature allows."""
    title = html.escape(who.name)
    version = f'<span class="version">{html.escape(who.version)}</span>' if who.version else ""
    body = BODY.format(
        title=title,
        version=version,
        inputs=_rows(spec.inputs),
        outputs=_rows(spec.outputs),
        v2=html.escape(f"/v2/models/{who.name}"),
    )
    data = _script_safe(
        {"example": example(spec.inputs), "inputs": [_plain(tensor) for tensor in spec.inputs]}
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="service">{data}</script>\n<script>{SCRIPT}</script>\n'
        "</body>\n</html>\n"
    ).encode()


def _rows(tensors: Sequence[TensorSpec]) -> str:
    return "\n".join(
        f'<tr><th scope="row"><code>{html.escape(tensor.name)}</code></th>'
        f"<td><code>{html.escape(str(tensor))}</code></td><td>{tensor.allowed}</td></tr>"
        for tensor in tensors
    )


def _plain(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "batched": tensor.batched}


def _script_safe(value: object) -> str:
    """JSON in which nothing ends a script element."""
    return json.dumps(value).replace("<", "\\u003c")
