"""The project's own base: Python and the libraries below it, from Debian packages, in one layer.

Packages are resolved by apt-get as if nothing were installed, verified by their hashes, and merged into one
tar. Nothing of them runs: what their scripts would make is made here. It takes neither root nor a chroot,
and the packages may be of another architecture than this machine.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote

from modeldeploy import files
from modeldeploy.bundle.manifest import canonical
from modeldeploy.bundle.progress import image_step
from modeldeploy.errors import BundleError
from modeldeploy.events import Emit
from modeldeploy.image import gz
from modeldeploy.image.base import apt, deb, interpreter, mirrors, system
from modeldeploy.image.base.compiler import Compiler
from modeldeploy.image.base.lockfile import DebianBase, Layer, Package
from modeldeploy.image.base.model import Base
from modeldeploy.image.base.model import Package as Listed
from modeldeploy.image.base.tree import Tree
from modeldeploy.image.cache import ImageCache
from modeldeploy.oci.descriptor import Blob, Descriptor, Platform, short
from modeldeploy.oci.manifest import LAYER_GZIP

BUILDER = 1
"""Grows when the same packages would become another layer."""
SUITES = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian's releases, and the one Python that each has."""
PACKAGES = ("base-files", "ca-certificates", "libgcc-s1", "libgomp1", "libstdc++6", "python3")
"""What every base has: Python, and the libraries that wheels expect of any Linux."""
_PRETENDED = {"debconf": "debconf-2.0", "dpkg": "", "mawk": "awk", "openssl": ""}
"""Packages that only the scripts of others need, with what they provide; taken as there unless asked for."""
_EXACT = re.compile(r"(\d+\.\d+\.\d+)")


def suite_of(base: str, python: str) -> str:
    """The release for ``debian`` or ``debian:bookworm``. Raises `BundleError` where there is none."""
    named = base.partition(":")[2]
    minor = ".".join(python.split(".")[:2])
    suite = named or next((suite for suite, has in SUITES.items() if has == minor), "")
    if SUITES.get(suite) == minor:
        return suite
    have = ", ".join(f"{has} ({suite})" for suite, has in SUITES.items())
    what = f"Debian {suite}" if suite in SUITES else "no release of Debian that mdeploy knows"
    raise BundleError(
        f"the bundle is for Python {python}, which {what} {'does not have' if suite in SUITES else 'has'}; "
        f"there are {have}",
        hint=f"set [build] python to one of these, or take a base with Python {minor}: "
        '[image] base = "host/repository@sha256:..."',
    )


def resolve(suite: str, extra: Sequence[str], platform: Platform) -> DebianBase:
    """Today's packages of a base. Raises `BundleError` without apt-get, a mirror, or such packages."""
    found = mirrors.find()
    pretended = "".join(_status(name, also) for name, also in _PRETENDED.items() if name not in extra)
    with tempfile.TemporaryDirectory(prefix="mdeploy-apt-") as folder:
        source = apt.Apt(
            Path(folder), found, suite=suite, architecture=platform.architecture, pretended=pretended
        )
        source.update()
        packages = source.closure(sorted({*PACKAGES, *extra}))
    return DebianBase(suite, _python_of(packages, suite), BUILDER, packages)


def _status(name: str, provides: str) -> str:
    """A record of an installed package. Who needs an exact version of it gets the real one."""
    also = f"Provides: {provides}\n" if provides else ""
    return (
        f"Package: {name}\nStatus: install ok installed\nVersion: 9999\nArchitecture: all\n"
        f"Multi-Arch: foreign\nMaintainer: none\n{also}Description: none\n\n"
    )


def _python_of(packages: Iterable[Package], suite: str) -> str:
    name = f"python{SUITES[suite]}-minimal"
    version = next((each.version for each in packages if each.name == name), "")
    found = _EXACT.match(version)
    if not found:
        raise BundleError(
            f"Debian {suite} has {name} {version or 'not at all'}, which is no release of Python"
        )
    return found[1]


@dataclass(frozen=True, slots=True)
class Debian:
    """Makes bases. ``compressor`` names what compresses layers: it is part of the key."""

    cache: ImageCache
    compressor: str
    emit: Emit

    def make(self, locked: DebianBase, platform: Platform, compiler: Compiler) -> tuple[Base, DebianBase]:
        """The base, from the cache if it was made before; and its lock, which knows the layer then.

        Raises `BundleError` for packages that are gone, damaged or hostile, and for a layer that is not the
        one that the lock tells.
        """
        layer = self._kept(locked, compiler)
        if not layer:
            with self._room():
                layer = self._make(locked, platform, compiler)
            _insist(locked, layer)
            files.private(self._note(locked, compiler).parent)
            files.write_json(self._note(locked, compiler), layer.to_json())
        blob = self.cache.blob(layer.descriptor)
        return base_of(locked, layer, platform, blob), replace(locked, layer=layer)

    def compiler(self, locked: DebianBase) -> Compiler:
        """The Python of a base that is for this machine. Raises `BundleError`."""
        folder = files.home() / "cache" / "pythons" / _key(locked.packages)[:32]
        if not folder.is_dir():
            with self._room(), self._merged(locked.packages) as tree:
                interpreter.lay_out(tree, folder)
        return interpreter.in_folder(folder)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Says it in mdeploy's words when the disk is full."""
        try:
            yield
        except OSError as error:
            raise files.disk_full(self.cache.folder, error) or error from error

    def _note(self, locked: DebianBase, compiler: Compiler) -> Path:
        parts = [locked.builder, _key(locked.packages), compiler.version, self.compressor]
        name = hashlib.sha256(canonical(parts)).hexdigest()
        return files.home() / "cache" / "image-bases" / f"{name}.json"

    def _kept(self, locked: DebianBase, compiler: Compiler) -> Layer | None:
        try:
            layer = Layer.from_json(files.read_json(self._note(locked, compiler)) or {})
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return layer if self.cache.has(layer.descriptor) else None

    def _make(self, locked: DebianBase, platform: Platform, compiler: Compiler) -> Layer:
        if locked.builder != BUILDER:
            raise BundleError(
                f"the base was locked for builder {locked.builder} of bases, and this mdeploy has {BUILDER}",
                hint="use the mdeploy that locked it, or lock anew: mdeploy image --upgrade",
            )
        count = len(locked.packages)
        with image_step(
            self.emit, "base", f"making the base of {count} Debian packages", platform=str(platform)
        ) as told:
            with self._merged(locked.packages) as tree, self.cache.scratch() as folder:
                system.complete(tree)
                interpreter.add_bytecode(tree, compiler, folder, system.ORIGIN)
                plain, packed = folder / "base.tar", folder / "base.tar.gz"
                with plain.open("xb") as stream:
                    tree.write(stream)
                layer = _compressed(plain, packed)
                self.cache.add_file(packed, layer.descriptor)
            told["message"] = f"made the base of {count} Debian packages for {platform}"
        return layer

    @contextmanager
    def _merged(self, packages: Sequence[Package]) -> Iterator[Tree]:
        """The files of packages, fetched where they are not here yet."""
        kept = files.home() / "cache" / "debs"
        with self.cache.scratch() as folder:
            missing = [each for each in packages if not (kept / f"{each.sha256}.deb").is_file()]
            if missing:
                size = sum(each.size for each in missing)
                doing = f"fetching {len(missing)} Debian packages"
                with image_step(self.emit, "base", doing, bytes=size) as told:
                    apt.download(missing, kept, mirrors.find(), folder)
                    told["message"] = f"fetched {len(missing)} Debian packages"
            with tempfile.TemporaryFile(dir=folder) as heap:
                tree = Tree(cast("BinaryIO", heap))
                for package in packages:
                    path = kept / f"{package.sha256}.deb"
                    apt.check(package, path)
                    control = deb.unpack(path, f"{package.name} {package.version}", tree)
                    tree.file(f"var/lib/dpkg/status.d/{package.name}", control.text.encode(), package.name)
                yield tree


def base_of(locked: DebianBase, layer: Layer, platform: Platform, blob: Blob) -> Base:
    """What an image needs to know of this base; ``blob`` is its layer, wherever that is."""
    return Base(
        platform=platform,
        layers=(blob,),
        diff_ids=(layer.diff_id,),
        config={"Env": list(system.ENVIRONMENT), "User": f"{system.USER}:{system.USER}", "WorkingDir": "/"},
        python=f"/usr/bin/python{SUITES[locked.suite]}",
        python_version=locked.python,
        source=f"debian:{locked.suite}",
        digest=layer.diff_id,
        packages=tuple(_listed(package, locked.suite) for package in locked.packages),
        history=({"created_by": f"mdeploy: {len(locked.packages)} packages of Debian {locked.suite}"},),
    )


def _listed(package: Package, suite: str) -> Listed:
    upstream = f"&upstream={quote(package.source, safe='')}" if package.source != package.name else ""
    name, version = quote(package.name, safe=""), quote(package.version, safe="~")
    purl = f"pkg:deb/debian/{name}@{version}?arch={package.architecture}&distro={suite}{upstream}"
    return Listed(package.name, package.version, purl)


def _key(packages: Iterable[Package]) -> str:
    """64 hexadecimal digits that tell the content of these packages, in their order."""
    return hashlib.sha256("".join(package.sha256 for package in packages).encode()).hexdigest()


def _compressed(plain: Path, packed: Path) -> Layer:
    with plain.open("rb") as stream:
        diff_id = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        stream.seek(0)
        with packed.open("xb") as target:
            digest, size = gz.compress(stream, target)
    return Layer(Descriptor(LAYER_GZIP, digest, size), diff_id)


def _insist(locked: DebianBase, layer: Layer) -> None:
    if locked.layer and layer != locked.layer:
        raise BundleError(
            f"the base came out as {short(layer.diff_id)}, and the lock tells {short(locked.layer.diff_id)}: "
            "the lock was edited, or mdeploy has a bug",
            hint="restore the lock from version control, or lock anew: mdeploy image --upgrade",
        )
