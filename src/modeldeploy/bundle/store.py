"""Where bundles are kept on this machine: by digest, read-only, never changed.

::

    bundles/sha256-<hex>/          one bundle, unpacked; its name is the digest of its manifest
    bundles/refs/NAME/VERSION      the digest of that version; written once
    bundles/large/<sha256>         files of a megabyte and more, linked into the bundles that hold them
    bundles/work/<id>/             a bundle in the making, and <id>.lock, held by its maker
    bundles/held/<hex>             a lock, shared by all who work with that bundle

A bundle appears by one rename, and goes by one. Who dies while making or removing one leaves a folder in
``work/`` whose lock nobody holds; the next build removes it. What was removed keeps its entry in ``refs``:
a version never means other content. Whoever works with a bundle holds its lock, shared.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from modeldeploy import files
from modeldeploy.bundle import digests
from modeldeploy.bundle.digests import REMEMBER_FROM
from modeldeploy.bundle.manifest import MANIFEST, MTIME, File, Manifest
from modeldeploy.errors import BundleError
from modeldeploy.model import BundleRef
from modeldeploy.oci.descriptor import digest_of, short

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
DERIVED = ("README.md", "apis/", "bento.yaml", "env/", "src/bentofile.yaml")
"""Where paths of files begin that BentoML makes of the others."""

_SETTINGS = (
    *("framework", "entrypoint", "model", "python", "requirements", "signature", "golden", "lock"),
    *("python_full", "platforms", "license", "metadata"),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A bundle in the store."""

    ref: BundleRef
    path: Path


class BundleStore:
    """The bundles below one home folder (default: mdeploy's)."""

    def __init__(self, home: Path | None = None) -> None:
        self.folder = (home or files.home()) / "bundles"

    def find(self, name: str, version: str) -> Stored:
        """A bundle by version, or by digest (``sha256:`` and at least 8 of its digits).

        Raises `BundleError` where it is not there, naming what is, or where it is damaged.
        """
        digest = self._by_digest(version) if version.startswith("sha256:") else self.digest_of(name, version)
        if digest is None:
            raise self._not_found(name, version)
        path = self.path_of(digest)
        if not path.is_dir():
            raise _removed(f"{name}:{version}", digest)
        manifest = self.check(path)
        if not version.startswith("sha256:") and (manifest.name, manifest.version) != (name, version):
            raise _damaged(path, f"it is {manifest.name}:{manifest.version}, and was to be {name}:{version}")
        return Stored(BundleRef(manifest.name, manifest.version, digest), path)

    @contextmanager
    def hold(self, digest: str) -> Iterator[Path]:
        """Keep a bundle from being removed for as long as the context lasts, or the process lives.

        Yields its folder, and counts as a use of it. Raises `BundleError` if it is not there (any more).
        """
        path = self.path_of(digest)
        if not path.is_dir():
            raise _removed(short(digest), digest)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._lock_of(digest, fcntl.LOCK_SH))
            except OSError as error:
                if error.errno not in {errno.EROFS, errno.EACCES}:
                    raise  # on a disk that cannot be written to, nobody removes anything either
            if not path.is_dir():
                raise _removed(short(digest), digest)
            with contextlib.suppress(OSError):  # a home that is read-only now
                os.utime(path)
            yield path

    @contextmanager
    def claim(self, digest: str) -> Iterator[bool]:
        """Hold a bundle alone, in order to remove it; False if somebody works with it."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._lock_of(digest, fcntl.LOCK_EX | fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True
            if not self.path_of(digest).exists():
                self._lock_file(digest).unlink(missing_ok=True)

    @contextmanager
    def _lock_of(self, digest: str, kind: int) -> Iterator[None]:
        # Not the manifest itself: some network file systems lock alone only what is open for writing.
        file = self._lock_file(digest)
        files.private(file.parent)
        while True:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, kind)
                if _is_open(file, descriptor):  # or it went with its bundle while we waited
                    yield
                    return
            finally:
                os.close(descriptor)

    def _lock_file(self, digest: str) -> Path:
        return self.folder / "held" / digest.removeprefix("sha256:")

    def digest_of(self, name: str, version: str) -> str | None:
        """The digest that a version was given, None for a version that was never built here."""
        if {"/", "\0"} & {*name, *version} or {name, version} & {"", ".", ".."}:
            return None
        ref = self._ref(name, version)
        if not ref.is_file():
            return None
        found = ref.read_text(errors="replace").strip()
        return found if _DIGEST.fullmatch(found) else None

    def path_of(self, digest: str) -> Path:
        """Where a bundle of that digest is, or would be."""
        return self.folder / digest.replace(":", "-")

    def all(self) -> list[Stored]:
        """Every named bundle, by name and then in order of age, newest last."""
        found = [Stored(ref, self.path_of(ref.digest)) for ref in self.refs()]
        return [stored for stored in found if stored.path.is_dir()]

    def refs(self) -> list[BundleRef]:
        """The same, with the versions whose files were removed since."""
        named = [ref for ref in self.folder.glob("refs/*/*") if not ref.name.startswith(".")]
        named.sort(key=lambda ref: (ref.parent.name, ref.stat().st_mtime_ns))
        known = [(ref, self.digest_of(ref.parent.name, ref.name)) for ref in named]
        return [BundleRef(ref.parent.name, ref.name, digest) for ref, digest in known if digest]

    def check(self, path: Path, *, full: bool = False) -> Manifest:
        """The manifest of a bundle that is as it was built.

        Looks at the manifest's digest and at every file's size and time; with ``full``, at every byte.
        Raises `BundleError` with what is wrong.
        """
        manifest = Manifest.read(path)
        if path.name != digest_of((path / MANIFEST).read_bytes()).replace(":", "-"):
            raise _damaged(path, f"{MANIFEST} was changed")
        for entry in manifest.files:
            file = path / entry.path
            if not _pristine(file, entry) or (full and digests.sha256_of(file) != entry.sha256):
                digests.forget(self._large(entry))
                raise _damaged(path, f"{entry.path} {'was changed' if file.exists() else 'is gone'}")
        return manifest

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """An empty folder to make a bundle in. It is gone at the end, unless `add` took it."""
        for name in ("refs", "large", "work"):
            files.private(self.folder / name)
        with contextlib.ExitStack() as stack:
            with self.locked():
                self.sweep()
                folder = stack.enter_context(self.scratch())
            folder.mkdir(mode=0o700)
            yield folder

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A name below ``work/`` for a folder; what is there in the end, or after a kill, is removed."""
        folder = self.folder / "work" / secrets.token_hex(8)
        lock = folder.with_suffix(".lock")
        with files.locked(lock):
            try:
                yield folder
            finally:
                remove(folder)
                lock.unlink(missing_ok=True)

    def add(self, folder: Path, manifest: Manifest) -> tuple[Stored, bool]:
        """Take a finished folder over, and give its digest to its version. False if it was there already.

        Raises `BundleError` if the version exists with other content.
        """
        ref = manifest.ref()
        path = self.path_of(ref.digest)
        with self.locked():
            self.refuse_other(manifest)
            new = not self._intact(path)
            if new:
                self._share_large(folder, manifest)
                remove(path)
                folder.rename(path)
                _seal(path)
            named = self._ref(ref.name, ref.version)
            if not named.exists():
                files.private(named.parent)
                files.write_atomic(named, f"{ref.digest}\n".encode())
        return Stored(ref, path), new

    def take(self, file: File, place: Path) -> bool:
        """Link a big file that is in the store already to a place in a workspace. False if it is not.

        Its content is what its name says: it is read for that, unless nobody touched it since it was.
        """
        kept = self._large(file)
        if file.size < REMEMBER_FROM or not _pristine(kept, file):
            return False
        with contextlib.suppress(OSError):  # gone this instant, or a file system without links
            if digests.content_of(kept).sha256 != file.sha256:
                kept.unlink()  # damaged: the next bundle brings it anew
                return False
            os.link(kept, place)
            digests.vouch(kept, file.sha256)  # one more link changes its stamp, not its content
            return True
        return False

    def refuse_other(self, manifest: Manifest, *, complete: bool = True) -> None:
        """Raises `BundleError`, naming what differs, if the version was built with other content.

        A manifest that is not ``complete`` lacks what BentoML makes: what it has is compared.
        """
        known = self.digest_of(manifest.name, manifest.version)
        if known is None or (complete and known == manifest.digest()):
            return
        try:
            changed = differences(Manifest.read(self.path_of(known)), manifest)
        except BundleError:
            changed = ["its files are gone from the store"] if complete else []
        if not changed and not complete:
            return
        changed = changed or ["what BentoML makes of the same files changed"]
        shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise BundleError(
            f"{manifest.name}:{manifest.version} exists with other content ({short(known)}): {shown}",
            hint=f"a version never changes; make a new one: mdeploy build --bump patch\n"
            f"all that differs: mdeploy why {manifest.version}",
            details={"existing": known, "new": manifest.digest(), "changed": changed},
        )

    def _ref(self, name: str, version: str) -> Path:
        return self.folder / "refs" / name / version

    def locked(self) -> contextlib.AbstractContextManager[int]:
        """The lock under which bundles appear and go."""
        return files.locked(self.folder / "lock")

    def _intact(self, path: Path) -> bool:
        try:
            self.check(path)
        except BundleError:
            return False
        return True

    def sweep(self) -> None:
        """Remove what builders that died have left. Call it under the store's lock."""
        for lock in self.folder.glob("work/*.lock"):
            if not files.is_locked(lock):
                remove(lock.with_suffix(""))
                lock.unlink(missing_ok=True)  # its maker may just have finished
        for file in self.folder.glob("large/*"):
            if file.stat().st_nlink == 1:
                file.unlink()

    def _share_large(self, folder: Path, manifest: Manifest) -> None:
        """Keep the big files under their digests too, for the bundles to come to `take`."""
        for entry in manifest.files:
            if entry.size < REMEMBER_FROM:
                continue
            kept = self._large(entry)
            if not _pristine(kept, entry):
                with contextlib.suppress(OSError):  # a file system without links keeps a copy each
                    kept.unlink(missing_ok=True)
                    os.link(folder / entry.path, kept)
                    digests.vouch(kept, entry.sha256)

    def _large(self, file: File) -> Path:
        return self.folder / "large" / (file.sha256 + ("x" if file.executable else ""))

    def _by_digest(self, text: str) -> str | None:
        digits = text.removeprefix("sha256:").lower()
        matching = [path.name for path in self.folder.glob("sha256-*") if path.name[7:].startswith(digits)]
        if len(digits) < 8 or len(matching) > 1:
            raise BundleError(
                f"{text} could be {len(matching)} bundles",
                hint="give 8 digits or more, enough to tell them apart; mdeploy build prints all 64",
            )
        return matching[0].replace("-", ":") if matching else None

    def _not_found(self, name: str, version: str) -> BundleError:
        known = [stored.ref for stored in self.all()]
        versions = [ref.version for ref in known if ref.name == name]
        if not versions:
            near = get_close_matches(name, {ref.name for ref in known}, n=1)
            also = f"; did you mean {near[0]}?" if near else ""
            return BundleError(f"no bundle of {name} was built on this machine{also}", hint="mdeploy build")
        return BundleError(
            f"{name}:{version} was not built on this machine; there are {', '.join(versions[-8:])}",
            hint=f"set that version in [project] and build it, or use {name}:{versions[-1]}",
        )


def differences(old: Manifest, new: Manifest) -> list[str]:
    """What differs between two bundles, in words: changed, new and missing files, then settings.

    What BentoML makes is left out: it differs only when something that it is made from does.
    """
    before = {entry.path: entry for entry in old.files}
    after = {entry.path: entry for entry in new.files}
    told = [f"{path} changed" for path in sorted(before.keys() & after.keys()) if before[path] != after[path]]
    told += [f"{path} is new" for path in sorted(after.keys() - before.keys())]
    told += [f"{path} is gone" for path in sorted(before.keys() - after.keys())]
    told = [entry for entry in told if not entry.startswith(DERIVED)]
    changed = [name for name in _SETTINGS if getattr(old, name) != getattr(new, name)]
    return told + [f"{name} changed" for name in changed]


def remove(folder: Path) -> None:
    """Delete a folder with all that is read-only in it; nothing happens where there is none."""
    if not folder.is_dir():
        return
    for inner, _folders, _files in os.walk(folder):
        Path(inner).chmod(0o700)
    shutil.rmtree(folder)


def _is_open(path: Path, descriptor: int) -> bool:
    """True if the path still names the file that is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _removed(what: str, digest: str) -> BundleError:
    return BundleError(
        f"{what} is not on this machine any more; its files were removed from the store",
        hint=f"get it from a registry (mdeploy pull {digest}), or build it again from the same inputs",
        details={"digest": digest},
    )


def _pristine(path: Path, file: File) -> bool:
    """True for a stored file that nobody wrote to: of the right size, with the one time that all have."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (file.size, MTIME)


def _seal(path: Path) -> None:
    for inner, _folders, _files in os.walk(path, topdown=False):
        Path(inner).chmod(0o555)


def _damaged(path: Path, what: str) -> BundleError:
    return BundleError(
        f"the bundle {short(path.name)} is damaged: {what}",
        hint=f"delete it (chmod -R u+w '{path}'; rm -r '{path}'), then: mdeploy build",
        details={"path": str(path)},
    )
