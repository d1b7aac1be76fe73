"""Where bundles are kept on this machine: by digest, read-only, never changed.

::

    bundles/sha256-<hex>/          one bundle, unpacked; its name is the digest of its manifest
    bundles/refs/NAME/VERSION      the digest of that version; written once
    bundles/large/<sha256>         files of a megabyte and more, linked into the bundles that hold them
    bundles/work/<id>/             a bundle in the making, and <id>.lock, held by its maker

A bundle appears by one rename. A builder that dies leaves a folder in ``work/`` whose lock nobody holds;
the next build removes it.
"""

from __future__ import annotations

import contextlib
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
from modeldeploy.bundle.digests import REMEMBER_FROM, sha256_of
from modeldeploy.bundle.manifest import MANIFEST, MTIME, File, Manifest, digest_of
from modeldeploy.errors import BundleError
from modeldeploy.model import BundleRef

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DERIVED = ("README.md", "apis/", "bento.yaml", "env/", "src/bentofile.yaml")


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
        manifest = self.check(path)
        return Stored(BundleRef(manifest.name, manifest.version, digest), path)

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
        refs = sorted(self.folder.glob("refs/*/*"), key=lambda ref: (ref.parent.name, ref.stat().st_mtime_ns))
        found = []
        for ref in refs:
            digest = self.digest_of(ref.parent.name, ref.name)
            if digest:
                found.append(Stored(BundleRef(ref.parent.name, ref.name, digest), self.path_of(digest)))
        return [stored for stored in found if stored.path.is_dir()]

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
            if not _pristine(file, entry) or (full and sha256_of(file) != entry.sha256):
                raise _damaged(path, f"{entry.path} {'was changed' if file.exists() else 'is gone'}")
        return manifest

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """An empty folder to make a bundle in. It is gone at the end, unless `add` took it."""
        for name in ("refs", "large", "work"):
            files.private(self.folder / name)
        with contextlib.ExitStack() as stack:
            with self._locked():
                self._sweep()
                name = secrets.token_hex(8)
                lock = self.folder / "work" / f"{name}.lock"
                stack.enter_context(files.locked(lock))
            folder = self.folder / "work" / name
            folder.mkdir(mode=0o700)
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
        with self._locked():
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
        """Link a big file that is in the store already to a place in a workspace. False if it is not."""
        kept = self._large(file)
        if file.size < REMEMBER_FROM or not _pristine(kept, file):
            return False
        with contextlib.suppress(OSError):  # gone this instant, or a file system without links
            os.link(kept, place)
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
            f"{manifest.name}:{manifest.version} exists with other content ({known[:19]}): {shown}",
            hint="a version never changes; make a new one: mdeploy build --bump patch",
            details={"existing": known, "new": manifest.digest(), "changed": changed},
        )

    def _ref(self, name: str, version: str) -> Path:
        return self.folder / "refs" / name / version

    def _locked(self) -> contextlib.AbstractContextManager[int]:
        return files.locked(self.folder / "lock")

    def _intact(self, path: Path) -> bool:
        try:
            self.check(path)
        except BundleError:
            return False
        return True

    def _sweep(self) -> None:
        """Remove what builders that died have left. Called under the store's lock."""
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
    told = [entry for entry in told if not entry.startswith(_DERIVED)]
    settings = ("framework", "entrypoint", "model", "python", "requirements", "signature", "golden", "lock")
    return told + [f"{name} changed" for name in settings if getattr(old, name) != getattr(new, name)]


def remove(folder: Path) -> None:
    """Delete a folder with all that is read-only in it; nothing happens where there is none."""
    if not folder.is_dir():
        return
    for inner, _folders, _files in os.walk(folder):
        Path(inner).chmod(0o700)
    shutil.rmtree(folder)


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
        f"the bundle {path.name[:19]} is damaged: {what}",
        hint=f"delete it (chmod -R u+w '{path}'; rm -r '{path}'), then: mdeploy build",
        details={"path": str(path)},
    )
