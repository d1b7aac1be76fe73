"""What protocols tell of a bundle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ..spec import ServiceSpec


@dataclass(frozen=True, slots=True)
class Identity:
    """Name, version and digest of a bundle; "" where there is none."""

    name: str
    version: str = ""
    digest: str = ""


def identity(spec: ServiceSpec, bundle: Path | None) -> Identity:
    """From ``mdeploy.json`` of the bundle; a service without one has only its spec's name."""
    try:
        content = (bundle / "mdeploy.json").read_bytes() if bundle else b""
    except OSError:
        content = b""
    if not content:
        return Identity(spec.name)
    told = json.loads(content)
    return Identity(told["name"], told["version"], f"sha256:{sha256(content).hexdigest()}")
