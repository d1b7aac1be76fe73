"""The log, kept in a repository under one tag, so that it lives where the bundles live.

The tag names a manifest, the manifest lists segments (blobs of whole lines), and the tag moves by
compare-and-swap: of two who append at once, the second one reads again and appends behind the first. The
manifest says how many lines there are and the digest of the last one.

Small segments at the end are put together to larger ones, as in a merge sort: each line is written about
three times in its life, and a log of thousands of entries has some tens of segments.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from modeldeploy import files
from modeldeploy.audit import chain
from modeldeploy.audit.chain import Broken, Entry, Head, Intact, Record
from modeldeploy.errors import RegistryRefused, RegistryUnavailable
from modeldeploy.oci.descriptor import Blob, Descriptor, digest_of
from modeldeploy.oci.manifest import EMPTY, EMPTY_CONFIG, IMAGE_MANIFEST, Manifest
from modeldeploy.registry.base import Repository, TagMoved

TAG = "_audit"
ARTIFACT = "application/vnd.mdeploy.audit.v1+json"
SEGMENT = "application/vnd.mdeploy.audit.segment.v1+jsonl"

_PROJECT = "dev.mdeploy.audit.project"
_ENTRIES = "dev.mdeploy.audit.entries"
_HEAD = "dev.mdeploy.audit.head"
_LAST = "dev.mdeploy.audit.last"

FAN = 8
"""How many segments of one size are put together to one of the next."""
LARGE = 512
"""Lines from which on a segment stays as it is."""
_MOST_BYTES = 64 << 20
_MOST_IN_ALL = 512 << 20
"""Bytes of all segments: some hundred thousand rollouts."""
_TRIES = 60


@runtime_checkable
class ShowsAsKept(Protocol):
    """A repository that shows content also where somebody has changed it."""

    def as_kept(self, digest: str, *, largest: int) -> bytes:
        """What is kept under a digest. Raises `RegistryRefused` where nothing is."""
        ...


class LogAltered(RegistryRefused):
    """The log is not the one that this machine has seen before: entries are gone, or others."""


@dataclass(frozen=True, slots=True)
class _State:
    """The log as its tag and manifest tell it."""

    tag: str | None
    head: Head
    segments: tuple[Descriptor, ...] = ()

    def last_of(self, place: int) -> int:
        """Number of the last entry in a segment."""
        return int(self.segments[place].annotations[_LAST]) if place >= 0 else 0

    def first_with(self, n: int) -> int:
        """The segment that holds the n-th entry; the number of segments where none does."""
        return next((i for i in range(len(self.segments)) if self.last_of(i) >= n), len(self.segments))


class Log:
    """The audit log of one project in a repository."""

    def __init__(self, repository: Repository, project: str, *, cache: Path | None = None) -> None:
        self._repository = repository
        self._project = project
        self._cache = cache
        """Segments that were read before. They cannot change, so nothing here is ever stale."""

    @property
    def where(self) -> str:
        """For people: where the log is kept."""
        return f"{self._repository.where} ({TAG})"

    def read(self, after: int = 0) -> list[Entry]:
        """The entries behind the ``after``-th one, oldest first. Raises `RegistryRefused` for nonsense."""
        state = self._state()
        begin = state.first_with(after + 1)
        entries = self._entries(self._lines(state, begin))
        return [entry for entry in entries if entry.n > after]

    def checked(self, seen: Sequence[Head] = ()) -> tuple[list[Entry], Head]:
        """All entries, each found to be as it was written, and the end. Raises `LogAltered`."""
        state = self._state()
        lines = self._lines(state, 0)
        self._forget_all_but(state.segments)
        found = chain.verify(lines, self._project, state.head, seen)
        if isinstance(found, Broken):
            raise LogAltered(
                f"{self.where} cannot be relied on: {found.message}", hint="mdeploy audit verify"
            )
        return self._entries(lines), found.head

    def append(self, records: Sequence[Record], *, after: int = 0, seen: Head | None = None) -> Head:
        """Put records behind the end, unless they are there behind the ``after``-th entry already.

        ``seen`` is a head that this log has had: raises `LogAltered` where it is no part of it now.
        """
        for attempt in range(_TRIES):
            state = self._state()
            entries = self._checked(state, after, seen)
            known = {entry.record.id for entry in entries}
            new = [record for record in records if record.id not in known]
            if not new:
                return state.head
            try:
                return self._put(state, *chain.chain(new, state.head))
            except TagMoved:
                time.sleep(random.uniform(0.001, 0.02) * (attempt + 1))  # noqa: S311 - spreads writers
        raise RegistryUnavailable(f"{self.where}: others append all the time", hint="run the command again")

    def head(self) -> Head:
        """Its end, as it tells it itself."""
        return self._state().head

    def verify(self, seen: Sequence[Head] = ()) -> Intact | Broken:
        """Look at every line as it is kept, whatever the digests around it say."""
        try:
            state = self._state()
        except RegistryRefused as error:
            return Broken("changed", 1, 1, max([1, *(head.n for head in seen)]), "a log", error.message)
        lines: list[bytes] = []
        for place in range(len(state.segments)):
            first, last = state.last_of(place - 1) + 1, state.last_of(place)
            try:
                content = self._as_kept(state.segments[place])
            except RegistryRefused as error:
                there = self._repository.has_blob(state.segments[place].digest)
                what = "changed" if there else "removed"
                return Broken(
                    what, first, first, last, f"a segment of {last - first + 1} lines", error.message
                )
            lines += chain.lines_of(content)
        return chain.verify(lines, self._project, state.head, seen)

    # What is kept.

    def _state(self) -> _State:
        tag = self._repository.tag(TAG)
        if tag is None:
            return _State(None, Head(0, chain.genesis(self._project)))
        try:
            return self._read_state(tag)
        except (ValueError, KeyError) as error:
            raise RegistryRefused(
                f"{self.where} is no audit log of {self._project}: {error}", hint="mdeploy audit verify"
            ) from error

    def _read_state(self, tag: Descriptor) -> _State:
        manifest = Manifest.from_bytes(self._repository.manifest(tag.digest), tag.media_type)
        notes = manifest.annotations
        if manifest.artifact_type != ARTIFACT or notes[_PROJECT] != self._project:
            raise ValueError(f"it is {manifest.artifact_type} of {notes.get(_PROJECT)}")
        if (size := sum(segment.size for segment in manifest.layers)) > _MOST_IN_ALL:
            raise ValueError(f"{size} bytes are more than are read")
        state = _State(tag.digest, Head(int(notes[_ENTRIES]), notes[_HEAD]), manifest.layers)
        if state.last_of(len(state.segments) - 1) != state.head.n:
            raise ValueError(f"its segments do not hold the {state.head.n} entries that it tells of")
        return state

    def _put(self, state: _State, lines: list[bytes], head: Head) -> Head:
        sizes = [state.last_of(place) - state.last_of(place - 1) for place in range(len(state.segments))]
        keep = segments_to_keep(sizes, len(lines))
        content = b"".join(line + b"\n" for line in [*self._lines(state, keep), *lines])
        segment = replace(Descriptor.of(content, SEGMENT), annotations={_LAST: str(head.n)})
        config = Descriptor.of(EMPTY, EMPTY_CONFIG)
        for descriptor, blob in ((config, EMPTY), (segment, content)):
            self._repository.push_blob(Blob(descriptor, _opener(blob)), moved=lambda _: None)
        notes = {_PROJECT: self._project, _ENTRIES: str(head.n), _HEAD: head.digest}
        manifest = Manifest(config, (*state.segments[:keep], segment), ARTIFACT, annotations=notes)
        put = self._repository.put_manifest(manifest.to_bytes(), IMAGE_MANIFEST)
        self._repository.set_tag(TAG, put, was=state.tag)
        return head

    def _checked(self, state: _State, after: int, seen: Head | None) -> list[Entry]:
        """The entries behind the ``after``-th, of a log that goes on from where it was seen to end."""
        known = seen or Head(0, chain.genesis(self._project))
        if known.n > state.head.n:
            raise self._altered(f"it ends with entry {state.head.n}, and had {known.n}")
        if known == state.head and after >= known.n:
            return []
        begin = state.first_with(min(after + 1, max(known.n, 1)))
        offset = state.last_of(begin - 1)
        lines = self._lines(state, begin)
        entries = self._entries(lines)
        digest = digest_of(lines[known.n - offset - 1]) if known.n else chain.genesis(self._project)
        if digest != known.digest:
            raise self._altered(f"entry {known.n} is another one")
        for line, entry in list(zip(lines, entries, strict=True))[known.n - offset :]:
            if entry.previous != digest:
                raise self._altered(f"entry {entry.n} does not follow entry {entry.n - 1}")
            digest = digest_of(line)
        if digest != state.head.digest:
            raise self._altered(f"entry {state.head.n} is not the end that it tells of")
        return [entry for entry in entries if entry.n > after]

    def _altered(self, how: str) -> LogAltered:
        return LogAltered(
            f"{self.where} is not the log that this machine has seen before: {how}",
            hint="mdeploy audit verify",
        )

    def _lines(self, state: _State, begin: int) -> list[bytes]:
        """The lines from a segment on, each segment with the digest that its manifest names."""
        return [line for one in state.segments[begin:] for line in chain.lines_of(self._segment(one))]

    def _entries(self, lines: Sequence[bytes]) -> list[Entry]:
        try:
            return [Entry.from_line(line) for line in lines]
        except ValueError as error:
            raise RegistryRefused(
                f"{self.where} holds a line that is no entry: {error}", hint="mdeploy audit verify"
            ) from error

    def _segment(self, segment: Descriptor) -> bytes:
        kept = self._cache / segment.digest.removeprefix("sha256:") if self._cache else None
        if kept and kept.is_file() and digest_of(content := kept.read_bytes()) == segment.digest:
            return content
        try:
            content = self._raw(segment)
        except RegistryRefused as error:
            raise self._changed(error.message) from error
        if (found := digest_of(content)) != segment.digest:
            raise self._changed(f"a segment has the digest {found}, not {segment.digest}")
        if kept:
            files.private(kept.parent)
            files.write_atomic(kept, content)
        return content

    def _changed(self, how: str) -> LogAltered:
        return LogAltered(f"{self.where} was changed: {how}", hint="find the entry: mdeploy audit verify")

    def _forget_all_but(self, segments: Sequence[Descriptor]) -> None:
        names = {segment.digest.removeprefix("sha256:") for segment in segments}
        for path in self._cache.iterdir() if self._cache and self._cache.is_dir() else ():
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _as_kept(self, segment: Descriptor) -> bytes:
        """A segment as it is kept, where the registry can tell: also if its digest and size are not right."""
        if isinstance(self._repository, ShowsAsKept):
            return self._repository.as_kept(segment.digest, largest=_MOST_BYTES)
        return self._raw(segment)

    def _raw(self, segment: Descriptor) -> bytes:
        if segment.size > _MOST_BYTES:
            raise RegistryRefused(f"{self.where}: a segment of {segment.size} bytes is none")
        with self._repository.open_blob(segment) as stream:
            return stream.read(_MOST_BYTES)


def segments_to_keep(sizes: Sequence[int], added: int) -> int:
    """How many segments stay as they are when lines are added; those behind them are put together with it."""
    keep, total = len(sizes), added
    while total < LARGE:
        level = _level(total)
        begin = keep
        while begin and _level(sizes[begin - 1]) <= level:
            begin -= 1
        if keep - begin + 1 < FAN:
            break
        total += sum(sizes[begin:keep])
        keep = begin
    return keep


def _level(lines: int) -> int:
    level = 0
    while lines >= FAN ** (level + 1):
        level += 1
    return level


def _opener(content: bytes) -> Callable[[int], io.BytesIO]:
    return lambda start: io.BytesIO(content[start:])
