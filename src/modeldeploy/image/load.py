"""Into an engine on this machine: Docker or podman, by their own programs.

Docker asks for a layer's file only if it does not have the layer, so what it has is left out of the archive:
a change of code beside a large model takes no longer than without it. An engine that wants everything
(Docker with containerd's store, podman) gets everything.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from modeldeploy import shell
from modeldeploy.bundle.progress import image_step
from modeldeploy.errors import PreflightError
from modeldeploy.events import Emit
from modeldeploy.image import archive
from modeldeploy.image.assemble import Image, PlatformImage
from modeldeploy.oci.descriptor import Platform
from modeldeploy.registry.base import Moved
from modeldeploy.registry.transfer import Job, Stop, transfer

ENGINES = ("docker", "podman")
_HOSTS = {"docker": "", "podman": "localhost/"}
_PATIENCE = 60.0
_MOST = 400
"""Images of the engine that are looked at."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of it. ``sent`` are bytes of layers that went to the engine."""

    engine: str
    reference: str
    sent: int
    platform: str


class LoadFailed(PreflightError):
    """An engine did not take the image."""


def load(image: Image, engine: str, *, emit: Emit) -> Loaded:
    """Give an image to an engine; the one for its platform, of several. Raises `LoadFailed`."""
    name = _HOSTS[engine] + archive.reference(image)
    with image_step(emit, "load", f"loading {name} into {engine}", engine=engine) as told:
        chosen = _for_engine(image, platform_of(engine))
        present = _present(chosen) if engine == "docker" else frozenset()
        sent = _try_thin(image, chosen, engine, present, emit)
        told |= {"bytes": sent, "message": f"loaded {name} into {engine}"}
    return Loaded(engine, name, sent, str(chosen.platform))


def platform_of(engine: str) -> Platform:
    """What the engine runs. Raises `LoadFailed` where there is no such engine."""
    form = {
        "docker": ("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"),
        "podman": ("info", "--format", "{{.Host.OS}}/{{.Host.Arch}}"),
    }[engine]
    system, _, machine = ask(engine, *form).strip().partition("/")
    return Platform(system, machine)


def ask(engine: str, *arguments: str) -> str:
    """What a short command of the engine prints. Raises `LoadFailed`."""
    if shutil.which(engine) is None:
        raise LoadFailed(
            f"the program '{engine}' is not on this machine",
            hint="install it, or write the image to a file: mdeploy image --output image.tar",
        )
    try:
        return shell.run([engine, *arguments], timeout=_PATIENCE).output
    except shell.ToolFailed as error:
        raise LoadFailed(
            f"{engine} does not answer: {_last(error)}",
            hint=f"see what it says: {engine} info",
            details=error.details,
        ) from error


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """What engines call a layer with all that lies below it."""
    chain: list[str] = []
    for diff_id in diff_ids:
        below = f"{chain[-1]} {diff_id}".encode() if chain else b""
        chain.append(f"sha256:{hashlib.sha256(below).hexdigest()}" if chain else diff_id)
    return chain


def _for_engine(image: Image, wanted: Platform) -> PlatformImage:
    found = next((each for each in image.platforms if each.platform == wanted), None)
    if found is None:
        there = ", ".join(str(each.platform) for each in image.platforms)
        raise LoadFailed(
            f"the engine runs {wanted}, and the image is for {there}",
            hint=f"mdeploy image --platform {wanted} --load",
        )
    return found


def _present(image: PlatformImage) -> frozenset[str]:
    """Digests of the layers that Docker has, in their places. None of them where it would want all files."""
    if "io.containerd" in ask("docker", "info", "--format", "{{json .DriverStatus}}"):
        return frozenset()
    ids = ask("docker", "image", "ls", "--all", "--quiet", "--no-trunc").split()
    wanted = list(dict.fromkeys(ids))[:_MOST]
    if not wanted:
        return frozenset()
    told = ask("docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", *wanted)
    has = {chain for line in told.splitlines() for chain in chain_ids(json.loads(line) or [])}
    ours = chain_ids([part.diff_id for part in image.parts])
    return frozenset(
        part.blob.descriptor.digest for part, chain in zip(image.parts, ours, strict=True) if chain in has
    )


def _try_thin(image: Image, chosen: PlatformImage, engine: str, present: frozenset[str], emit: Emit) -> int:
    if present:
        try:
            return _send(image, chosen, engine, present, emit)
        except LoadFailed:
            pass  # an image was removed meanwhile, or this engine reads what it need not: it gets everything
    return _send(image, chosen, engine, frozenset(), emit)


def _send(image: Image, chosen: PlatformImage, engine: str, without: frozenset[str], emit: Emit) -> int:
    sizes = {part.blob.descriptor.digest: part.blob.descriptor.size for part in chosen.parts}
    total = sum(size for digest, size in sizes.items() if digest not in without)

    def work(moved: Moved, stop: Stop) -> None:
        def told(count: int) -> None:
            stop.check()
            moved(count)

        def write(to: archive.Sink) -> None:
            archive.write(image, chosen, to, moved=told, host=_HOSTS[engine], without=without)

        pour([engine, "load"], write)

    name = f"{archive.reference(image)} into {engine}"
    transfer([Job(name, total, work, lambda _: "loaded")], emit=emit, direction="up")
    return total


def pour(command: Sequence[str], write: Callable[[archive.Sink], None]) -> str:
    """Run a program and write to its standard input as it reads. Returns what it printed.

    Raises `LoadFailed` with its last line where it does not end well.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
        try:
            with suppress(BrokenPipeError):  # the program has ended, and its code says why
                _write_all(process, write)
            code = process.wait()
        finally:
            _end(process)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if code:
        lines = said.strip().splitlines()
        raise LoadFailed(
            f"'{' '.join(command)}' ended with code {code}: {lines[-1] if lines else 'it said nothing'}",
            details={"output": lines[-20:]},
        )
    return said


def _write_all(process: subprocess.Popen[bytes], write: Callable[[archive.Sink], None]) -> None:
    pipe = process.stdin
    assert pipe is not None  # noqa: S101  # it was asked for
    try:
        write(pipe)
    finally:
        pipe.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing is left running where something went wrong on this side."""
    if process.poll() is None:
        process.kill()
        process.wait()


def _last(error: shell.ToolFailed) -> str:
    lines = error.details.get("output")
    return str(lines[-1]) if isinstance(lines, list) and lines else error.message
