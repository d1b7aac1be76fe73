"""Debian packages made by hand: honest ones and hostile ones."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Iterable
from pathlib import Path

File = tuple[str, bytes]


def member(
    name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: object
) -> tuple[tarfile.TarInfo, bytes]:
    """One entry of a package."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def deb(
    path: Path,
    members: Iterable[tuple[tarfile.TarInfo, bytes]] = (),
    *,
    name: str = "hello",
    compressed: str = ".xz",
    scripts: Iterable[str] = (),
    control: bool = True,
) -> Path:
    """A package with these entries."""
    text = f"Package: {name}\nVersion: 1.0\nArchitecture: amd64\nDescription: x\n".encode()
    of_control = [member("./control", content=text)] if control else []
    of_control += [member(f"./{script}", content=b"#!/bin/sh\n") for script in scripts]
    parts = [
        ("debian-binary", b"2.0\n"),
        (f"control.tar{compressed}", _packed(_tar(of_control), compressed)),
        (f"data.tar{compressed}", _packed(_tar(members), compressed)),
    ]
    path.write_bytes(b"!<arch>\n" + b"".join(_part(*part) for part in parts))
    return path


def _tar(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _packed(content: bytes, form: str) -> bytes:
    if form == ".xz":
        return lzma.compress(content)
    return gzip.compress(content) if form == ".gz" else content


def _part(name: str, content: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return header + content + b"\n" * (len(content) % 2)
