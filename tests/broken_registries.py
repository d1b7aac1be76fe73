"""Registries that each break one promise. They stand in a module of their own: other processes open them."""

from __future__ import annotations

import hashlib
import io
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from modeldeploy.oci.descriptor import Blob, Descriptor
from modeldeploy.registry.base import Moved, Sent, TagMoved
from modeldeploy.registry.folder import FolderRegistry, FolderRepository


class SendsAgain(FolderRepository):
    def push_blob(self, blob: Blob, *, moved: Moved) -> Sent:
        if self.has_blob(blob.descriptor.digest):
            with blob.open(0) as stream:
                moved(len(stream.read()))
        return super().push_blob(blob, moved=moved)


class CountsNothing(FolderRepository):
    def push_blob(self, blob: Blob, *, moved: Moved) -> Sent:
        return super().push_blob(blob, moved=lambda _: None)


class ReadsFromTheStart(FolderRepository):
    def open_blob(self, descriptor: Descriptor, *, start: int = 0) -> BinaryIO:
        return super().open_blob(descriptor)


class TakesAnything(FolderRepository):
    def push_blob(self, blob: Blob, *, moved: Moved) -> Sent:
        with blob.open(0) as stream:
            content = stream.read()
        path = self.layout.blobs.path(blob.descriptor.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        moved(len(content))
        return Sent(len(content), "sent")


class HoldsAll(FolderRepository):
    def push_blob(self, blob: Blob, *, moved: Moved) -> Sent:
        with blob.open(0) as stream:
            content = stream.read()

        def held(start: int) -> BinaryIO:
            return io.BytesIO(content[start:])

        return super().push_blob(replace(blob, open=held), moved=moved)


class ShowsHalf(FolderRepository):
    def push_blob(self, blob: Blob, *, moved: Moved) -> Sent:
        path = self.layout.blobs.path(blob.descriptor.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        sent = 0
        with path.open("wb") as out, blob.open(0) as stream:
            while piece := stream.read(1 << 20):
                out.write(piece)
                sent += len(piece)
        moved(sent)
        return Sent(sent, "sent")


class BeginsAnew(FolderRepository):
    def push_blob(self, blob: Blob, *, moved: Moved) -> Sent:
        shutil.rmtree(Path(self.where) / "uploads", ignore_errors=True)
        return super().push_blob(blob, moved=moved)


class FindsNothingElsewhere(FolderRepository):
    def push_blob(self, blob: Blob, *, moved: Moved) -> Sent:
        sent = super().push_blob(blob, moved=moved)
        if sent.how == "mounted":
            moved(blob.descriptor.size)
            return Sent(blob.descriptor.size, "sent")
        return sent


class LeaksItsOwnErrors(FolderRepository):
    def open_blob(self, descriptor: Descriptor, *, start: int = 0) -> BinaryIO:
        return self.layout.blobs.path(descriptor.digest).open("rb")


class BelievesItsDisk(FolderRepository):
    def manifest(self, digest: str) -> bytes:
        super_path = self.layout.blobs.path(digest)
        return super_path.read_bytes() if super_path.exists() else super().manifest(digest)


class AddsALine(FolderRepository):
    def put_manifest(self, content: bytes, media_type: str) -> Descriptor:
        return super().put_manifest(content.rstrip(b"\n"), media_type)


class NoTagsNoAnswer(FolderRepository):
    def tags(self) -> Sequence[str]:
        return [path.name for path in Path(self.where).iterdir() if path.is_file()]


class InAnyOrder(FolderRepository):
    def tags(self) -> Sequence[str]:
        return sorted(super().tags(), key=lambda tag: hashlib.sha256(tag.encode()).digest())


class TagsWithoutCase(FolderRepository):
    def set_tag(self, tag: str, to: Descriptor, *, was: str | None) -> None:
        super().set_tag(tag.lower(), to, was=was)


class TagsAnything(FolderRepository):
    def set_tag(self, tag: str, to: Descriptor, *, was: str | None) -> None:
        if not self.has_blob(to.digest):
            self.layout.blobs.path(to.digest).write_bytes(b"x" * to.size)
        super().set_tag(tag, to, was=was)


class LastOneWins(FolderRepository):
    def set_tag(self, tag: str, to: Descriptor, *, was: str | None) -> None:
        del was
        found = self.tag(tag)
        super().set_tag(tag, to, was=found.digest if found else None)


class LooksThenSets(FolderRepository):
    """Looks first, as a registry without conditional writes tempts one to."""

    def set_tag(self, tag: str, to: Descriptor, *, was: str | None) -> None:
        found = self.tag(tag)
        if (found.digest if found else None) != was:
            raise TagMoved(tag, found)
        time.sleep(0.05)
        for _ in range(100):
            now = self.tag(tag)
            with suppress(TagMoved):
                super().set_tag(tag, to, was=now.digest if now else None)
                return


class DoesNotSayWhatItFound(FolderRepository):
    def set_tag(self, tag: str, to: Descriptor, *, was: str | None) -> None:
        try:
            super().set_tag(tag, to, was=was)
        except TagMoved:
            raise TagMoved(tag, None) from None


class Broken(FolderRegistry):
    def __init__(self, kind: type[FolderRepository], folder: Path) -> None:
        super().__init__(folder)
        self.kind = kind

    def repository(self, name: str) -> FolderRepository:
        super().repository(name)
        return self.kind(self.folder, name)


class SharesTags(Broken):
    def repository(self, name: str) -> FolderRepository:
        return super().repository(name.removesuffix("-2"))


class OpensAnyFolder(Broken):
    def repository(self, name: str) -> FolderRepository:
        return self.kind(self.folder, name.replace("\0", ""))
