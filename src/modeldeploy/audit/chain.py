"""The chain: each entry of the audit log holds the digest of the one before. Pure.

An entry is one line of JSON in one canonical form. So the digest of the last line pins all lines: whoever
edits, takes out, puts in or moves one has to rewrite everything behind it, and then the last digest is not
the one that others have seen. `verify` says which entry it was.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from modeldeploy.audit import shape
from modeldeploy.model import BundleRef
from modeldeploy.oci.descriptor import digest_of

LONGEST = 1 << 20
"""Bytes of one line; a longer one is no entry."""

_OPTIONAL = ("target", "revision", "rollout")


@dataclass(frozen=True, slots=True)
class Record:
    """What happened, before it has its place in the log."""

    id: str
    """Tells this one from all others, so that it is never written down twice."""
    at: float
    """Unix seconds, by the clock of the machine where it happened."""
    kind: str
    """What was done: push, alias, sign, test, scan, approve, promote, deploy, rollback, abort or destroy."""
    by: str
    """Who, as `modeldeploy.identity` tells it: a claim."""
    command: str
    project: str
    target: str | None = None
    bundle: BundleRef | None = None
    revision: str | None = None
    rollout: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    """JSON values, by kind (docs/reference/audit.md). Never a secret."""

    def to_json(self) -> dict[str, Any]:
        """JSON values; what is not known is left out."""
        value = {name: getattr(self, name) for name in ("id", "at", "kind", "by", "command", "project")}
        value |= {name: getattr(self, name) for name in _OPTIONAL if getattr(self, name) is not None}
        if self.bundle:
            value["bundle"] = asdict(self.bundle)
        return {**value, "data": dict(self.data)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        """Reads what `to_json` wrote. Raises ValueError for anything else."""
        try:
            bundle = value.get("bundle")
            known = {name: value[name] for name in ("id", "kind", "by", "command", "project")}
            known |= {name: value[name] for name in _OPTIONAL if name in value}
            if not all(isinstance(text, str) for text in known.values()):
                raise ValueError("no entry: text was expected")
            parts = (str(bundle[name]) for name in ("name", "version", "digest")) if bundle else None
            ref = BundleRef(*parts) if parts else None
            return cls(at=shape.time_of(value["at"]), bundle=ref, data=shape.sound(value["data"]), **known)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no entry: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class Entry:
    """A record in its place: the ``n``-th line of the log, chained to the line before."""

    n: int
    record: Record
    previous: str
    """``sha256:`` digest of the line before; of the first entry, `genesis`."""

    def to_line(self) -> bytes:
        """The one form in which this entry is written, without a newline."""
        return canonical({**self.record.to_json(), "n": self.n, "previous": self.previous})

    @classmethod
    def from_line(cls, line: bytes) -> Entry:
        """Reads what `to_line` wrote, and nothing that merely means the same. Raises ValueError."""
        if len(line) > LONGEST:
            raise ValueError(f"no entry: {len(line)} bytes")
        try:
            value = json.loads(line)
            if canonical(value) != line:
                raise ValueError("it is not in the form that mdeploy writes")
            n, previous = value["n"], value["previous"]
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no entry: {type(error).__name__}: {error}") from error
        if type(n) is not int or not isinstance(previous, str):
            raise ValueError("no entry: 'n' or 'previous' is not what it should be")
        return cls(n, Record.from_json(value), previous)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a log: how many entries it has, and the digest of its last line."""

    n: int
    digest: str


@dataclass(frozen=True, slots=True)
class Intact:
    """Every entry is as it was written, and in its place."""

    entries: int
    head: Head


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place where the log is not as it was written."""

    what: str
    """``changed``, ``removed``, ``inserted``, ``moved``, ``cut`` (off at the end) or ``rewritten``."""
    line: int
    """Line of the log, from 1."""
    first: int
    """Number of the first entry that is concerned."""
    last: int
    """Number of the last one."""
    expected: str
    found: str

    @property
    def message(self) -> str:
        """One sentence: which entry, what became of it, what was expected and what is there."""
        one = f"entry {self.first}" if self.first == self.last else f"entries {self.first} to {self.last}"
        verb = "was" if self.first == self.last else "were"
        done = {"cut": "cut off at the end", "moved": "moved from elsewhere"}.get(self.what, self.what)
        return f"line {self.line}: {one} {verb} {done}: expected {self.expected}, found {self.found}"


def canonical(value: object) -> bytes:
    """JSON with sorted keys, in ASCII, without white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def genesis(project: str) -> str:
    """What the first entry of a project's log has for the line before: no log can pass for another's."""
    return digest_of(f"mdeploy audit log, format 1, of {project}".encode())


def new_id() -> str:
    """The id of a new record."""
    return secrets.token_hex(12)


def chain(records: Sequence[Record], head: Head) -> tuple[list[bytes], Head]:
    """The lines that put records behind the head, and the head that this makes."""
    lines = []
    for record in records:
        line = Entry(head.n + 1, record, head.digest).to_line()
        if len(line) > LONGEST:  # nobody could read the log any more
            line = Entry(head.n + 1, _cut_short(record), head.digest).to_line()
        head = Head(head.n + 1, digest_of(line))
        lines.append(line)
    return lines, head


def _cut_short(record: Record) -> Record:
    told = {"told": f"what was to be put on record of this {record.kind} was too long to be kept"}
    return replace(record, command=record.command[:1000], data=told)


def lines_of(content: bytes) -> list[bytes]:
    """The lines of a log, or of a part of it. What stands behind the last newline is a line, too."""
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def verify(
    lines: Sequence[bytes], project: str, head: Head | None = None, seen: Sequence[Head] = ()
) -> Intact | Broken:
    """Whether these are all lines that were ever written, each as it was.

    ``head`` is what the log itself says of its end; without it a change of the last line is not seen.
    ``seen`` are heads that were remembered elsewhere: without them one who rewrites everything is not seen.
    """
    look = _Look(lines, project, head)
    for place in range(len(lines)):
        if fault := look.fault_at(place):
            return fault
    end = Head(len(lines), look.digests[-1] if lines else genesis(project))
    return look.fault_at_the_end(end) or _not_as_seen(look, seen) or Intact(len(lines), end)


class _Look:
    """A log, and for each line whether it fits to its neighbours."""

    def __init__(self, lines: Sequence[bytes], project: str, head: Head | None) -> None:
        self.lines = lines
        self.head = head
        self.genesis = genesis(project)
        self.digests = [digest_of(line) for line in lines]
        self.entries = [_read(line) for line in lines]
        self._successor = {
            entry.previous: place
            for place, entry in reversed(list(enumerate(self.entries)))
            if isinstance(entry, Entry)
        }
        self._place = {digest: place for place, digest in reversed(list(enumerate(self.digests)))}

    def before(self, place: int) -> str:
        """The digest that a line here must hold as the one of its predecessor."""
        return self.digests[place - 1] if place else self.genesis

    def fault_at(self, place: int) -> Broken | None:
        """What is wrong with a line, given that all before it are chained."""
        entry = self.entries[place]
        if isinstance(entry, Entry) and entry.previous == self.before(place):
            if entry.n == place + 1:
                return None
            return self._fault("changed", place, f"n = {place + 1}", f"n = {entry.n}")
        original = self._place[self.digests[place]]
        if original < place:
            return self._fault("inserted", place, f"entry {place + 1}", f"a copy of entry {original + 1}")
        true = self._successor.get(self.before(place), -1)
        if true > place:
            return self._does_not_belong(place, true)
        if isinstance(entry, str):
            return self._fault("changed", place, "an entry", entry)
        return self._unchained(place, entry)

    def fault_at_the_end(self, end: Head) -> Broken | None:
        """What is wrong with the last line, by what the log says of its own end."""
        if self.head is None or self.head == end:
            return None
        if end.n < self.head.n:
            return _cut(end.n, self.head)
        if end.n > self.head.n:
            place, told = self.head.n, f"{self.head.n} entries"
            return self._fault("inserted", place, told, f"{end.n}", last=end.n)
        return self._fault("changed", end.n - 1, self.head.digest, end.digest)

    def _does_not_belong(self, place: int, true: int) -> Broken:
        """The line that belongs here stands further down: those between came from somewhere."""
        entry = self.entries[place]
        expected = f"the entry that is in line {true + 1} now"
        if isinstance(entry, Entry) and entry.previous in self._place:
            return self._fault("moved", place, expected, f"entry {entry.n}", first=entry.n)
        return self._fault("inserted", place, expected, "one that nobody follows", last=true)

    def _unchained(self, place: int, entry: Entry) -> Broken:
        """Nobody follows the line before: it was changed, its followers are gone, or this one was changed."""
        expected, found = f"previous = {self.before(place)}", f"previous = {entry.previous}"
        origin = self._place.get(entry.previous, -1 if entry.previous == self.genesis else None)
        if origin is not None and origin < place - 1:
            what = f"entry {origin + 1} to be followed by that in line {place + 1}"
            return self._fault("inserted", origin + 1, what, "others between them", last=place)
        if entry.n > place + 1:
            return Broken("removed", place + 1, place + 1, entry.n - 1, expected, f"{found}, n = {entry.n}")
        if place and self._is_followed(place):
            place, expected, found = place - 1, entry.previous, self.before(place)
        return self._fault("changed", place, expected, found)

    def _is_followed(self, place: int) -> bool:
        """Whether what stands behind a line vouches for it."""
        digest = self.digests[place]
        if place + 1 < len(self.lines):
            return digest in self._successor
        return self.head is None or self.head.digest == digest

    def _fault(
        self, what: str, place: int, expected: str, found: str, *, first: int = 0, last: int = 0
    ) -> Broken:
        begin = first or place + 1
        return Broken(what, place + 1, begin, max(last, begin), expected, found)


def _not_as_seen(look: _Look, seen: Sequence[Head]) -> Broken | None:
    """Whether a log that is chained is another one than was seen before."""
    sound = 0
    for known in sorted(seen, key=lambda head: head.n):
        if known.n > len(look.lines):
            return _cut(len(look.lines), known)
        found = look.digests[known.n - 1] if known.n else look.genesis
        if found != known.digest:
            expected = f"{known.digest} for entry {known.n}, as seen before"
            return Broken("rewritten", sound + 1, sound + 1, known.n, expected, found)
        sound = known.n
    return None


def _cut(there: int, head: Head) -> Broken:
    return Broken("cut", there + 1, there + 1, head.n, f"{head.n} entries", f"{there}")


def _read(line: bytes) -> Entry | str:
    try:
        return Entry.from_line(line)
    except ValueError as error:
        return f"{line[:40]!r}: {error}"
