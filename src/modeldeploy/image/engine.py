"""An image that an engine builds, for users who need ``RUN`` steps or another base's package manager.

The engine gets a folder with a Dockerfile and the layers that mdeploy would have used itself, so bundle,
packages, labels and entrypoint are the same, and models have layers of their own. What it built is taken into
the cache, from where it is pushed like any other. An engine's image has times of its own: two builds differ.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeldeploy.bundle.artifact import version_tag
from modeldeploy.bundle.layers import groups_of
from modeldeploy.bundle.progress import image_step
from modeldeploy.errors import ConfigError
from modeldeploy.events import Emit
from modeldeploy.image import made as records
from modeldeploy.image.archive import copy
from modeldeploy.image.assemble import Image, Part, entrypoint, environment, labels_of, ports
from modeldeploy.image.base.model import Base
from modeldeploy.image.build import Source, package_parts, packages_for, statements
from modeldeploy.image.cache import ImageCache
from modeldeploy.image.foundation import Ground
from modeldeploy.image.imported import take_over
from modeldeploy.image.load import LoadFailed
from modeldeploy.image.made import Made
from modeldeploy.image.provenance import Means

_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Context:
    """What an engine builds from: a base, steps, and the parts above them."""

    ground: Ground
    source: Source
    base: Base
    parts: tuple[Part, ...]

    def write(self, folder: Path, cache: ImageCache) -> None:
        """Put the Dockerfile and all that it names into a folder. What is on this disk is linked."""
        models = {group.name: group.single for group in groups_of(self.source.manifest)}
        lines = [*self._beginning(folder, cache), *self._steps()]
        for number, part in enumerate(self.parts):
            file = models.get(part.name)
            if file:
                name = f"file-{number}"
                _link(self.source.path / file.path, folder / name)
                lines.append(f"COPY {_words(name, f'/bundle/{file.path}')}")
            else:
                lines.append(f"ADD {_words(_layer(part, folder, f'layer-{number}', cache), '/')}")
        lines += self._settings()
        (folder / "Dockerfile").write_text("".join(f"{line}\n" for line in lines))

    def _beginning(self, folder: Path, cache: ImageCache) -> Iterator[str]:
        if not self.is_own:
            yield f"FROM {self.ground.settings.base}"
            yield "USER 0"
            return
        yield "FROM scratch"
        for number, (blob, diff_id) in enumerate(zip(self.base.layers, self.base.diff_ids, strict=True)):
            part = Part("base", self.base.source, blob, diff_id)
            yield f"ADD {_words(_layer(part, folder, f'base-{number}', cache), '/')}"
        yield from (f"ENV {name}={_quoted(value)}" for name, value in self.base.environment.items())

    def _steps(self) -> Iterator[str]:
        settings = self.ground.settings
        if settings.packages and not self.is_own:
            names = " ".join(shlex.quote(name) for name in settings.packages)
            yield (
                f"RUN apt-get update && apt-get install -y --no-install-recommends {names}"
                " && rm -rf /var/lib/apt/lists/*"
            )
        yield from (f"RUN {command}" for command in settings.run)

    def _settings(self) -> Iterator[str]:
        yield from (f"ENV {name}={_quoted(value)}" for name, value in environment(self.base).items())
        for name, value in labels_of(self.source.manifest, self.base).items():
            yield f"LABEL {name}={_quoted(value)}"
        user = self.ground.settings.user
        yield f"USER {user}:{user}"
        yield from (f"EXPOSE {port}" for port in ports(self.source.manifest))
        yield "WORKDIR /bundle"
        yield "STOPSIGNAL SIGTERM"
        yield "CMD []"
        yield f"ENTRYPOINT {json.dumps(entrypoint(self.source.manifest, self.base))}"

    @property
    def is_own(self) -> bool:
        """True for the base that mdeploy makes."""
        return self.ground.settings.base.partition(":")[0] == "debian"


def build(source: Source, ground: Ground, *, emit: Emit, upgrade: bool = False) -> Made:
    """The image of a bundle, built by the engine that the settings name, for one platform.

    Raises `ConfigError` for settings that an engine cannot follow, `LoadFailed` where it does not build.
    """
    _check(ground)
    cache, engine = ImageCache(), ground.settings.engine
    with cache.in_use():
        foundation = ground.lay(source.manifest.python, cache, emit=emit, upgrade=upgrade)
        base = foundation.bases[0]
        packages = packages_for(source, base, foundation, cache, emit=emit)
        context = Context(ground, source, base, (*package_parts(packages, cache), *source.parts()))
        _insist_on_shell(context)
        with cache.scratch() as folder:
            saved = _built(context, folder, cache, emit)
            with image_step(emit, "image", "taking the engine's image over"):
                built = take_over(saved, base, context.parts, labels_of(source.manifest, base), cache)
        image = Image(source.ref, (built,))
        listed = [[each for layer in packages.layers for each in layer.packages]]
        means = Means(engine, foundation.compiler.version, foundation.compressor, (base,))
        made = Made(image, engine, statements(source, image, listed, means))
        records.keep(made, cache)
    return made


def _check(ground: Ground) -> None:
    settings = ground.settings
    if len(settings.platforms) != 1:
        raise ConfigError(
            f"{settings.engine} builds for one platform, and {len(settings.platforms)} are asked for",
            hint=f"mdeploy image --platform {settings.platforms[0]}",
        )
    if settings.base.startswith("oci:"):
        raise ConfigError(
            f"[image] base: {settings.engine} cannot build on a layout in a folder",
            hint='name the base in a registry, by its digest; or set [image] engine = "none"',
        )


def _insist_on_shell(context: Context) -> None:
    names = {package.name for package in context.base.packages}
    if context.is_own and context.ground.settings.run and not {"dash", "bash", "busybox"} & names:
        raise ConfigError(
            "[image] run: the base 'debian' has no shell that could run commands",
            hint='[image] packages = ["dash", "coreutils"], or a base with a shell',
        )


def _built(context: Context, folder: Path, cache: ImageCache, emit: Emit) -> Path:
    """Let the engine build, and save what it built to a file in Docker's form."""
    engine = context.ground.settings.engine
    staged, identity = folder / "context", folder / "id"
    staged.mkdir()
    context.write(staged, cache)
    ref = context.source.ref
    name = f"{ref.name.lower()}:{version_tag(ref.version)}"
    verb = ["bud"] if engine == "buildah" else ["build"]
    options = ["--platform", str(context.base.platform), "--iidfile", str(identity), "--tag", name]
    with image_step(emit, "engine", f"{engine} builds {name}", engine=engine) as told:
        _run([engine, *verb, *options, "--file", str(staged / "Dockerfile"), str(staged)])
        told["message"] = f"{engine} built {name}"
    saved, number = folder / "image.tar", identity.read_text().strip()
    save = {
        "docker": ["docker", "save", "--output", str(saved), number],
        "podman": ["podman", "save", "--format", "docker-archive", "--output", str(saved), number],
        "buildah": ["buildah", "push", number, f"docker-archive:{saved}"],
    }[engine]
    _run(save)
    return saved


def _run(command: Sequence[str]) -> None:
    """Run the engine, whose output is told only if it fails. Raises `LoadFailed`."""
    if shutil.which(command[0]) is None:
        raise LoadFailed(
            f"the program '{command[0]}' is not on this machine",
            hint='install it, or let mdeploy make the image itself: [image] engine = "none"',
        )
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise LoadFailed(f"'{' '.join(command[:2])}' did not end within {_SECONDS:g} s") from error
    if done.returncode:
        lines = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
        raise LoadFailed(
            f"'{' '.join(command[:2])}' ended with code {done.returncode}: {lines[-1] if lines else ''}",
            hint="its last lines are above; the steps are those of [image] run",
            details={"output": lines[-20:]},
        )


def _layer(part: Part, folder: Path, name: str, cache: ImageCache) -> str:
    """A layer's file in the context; the engine unpacks it, compressed or not."""
    descriptor = part.blob.descriptor
    name = f"{name}.tar.gz" if "gzip" in descriptor.media_type else f"{name}.tar"
    if cache.has(descriptor):
        _link(cache.path(descriptor.digest), folder / name)
    else:
        with (folder / name).open("wb") as stream:
            copy(part.blob, stream, lambda _: None)
    return name


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:
        shutil.copyfile(source, place)


def _words(*words: str) -> str:
    return json.dumps(words)


def _quoted(value: str) -> str:
    """A value in a Dockerfile: nothing in it is expanded."""
    return json.dumps(value, ensure_ascii=False).replace("$", "\\$")
