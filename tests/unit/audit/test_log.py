"""The log in a repository: appended by many, read while it grows, and watched by all who saw it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_records import record
from memory_registry import MemoryRepository
from modeldeploy.audit import chain
from modeldeploy.audit.chain import Broken, Entry, Head, Intact
from modeldeploy.audit.log import LARGE, SEGMENT, TAG, Log, LogAltered, segments_to_keep
from modeldeploy.errors import RegistryRefused, RegistryUnavailable
from modeldeploy.oci.manifest import Manifest

NOTHING = Head(0, chain.genesis("digits"))


def manifest_of(repository: MemoryRepository) -> Manifest:
    return Manifest.from_bytes(repository.manifests[repository.pointers[TAG].digest])


def test_a_log_that_is_not_there_is_empty_and_intact(log: Log) -> None:
    assert log.read() == []
    assert log.head() == NOTHING
    assert log.verify() == Intact(0, NOTHING)


def test_what_is_appended_is_read_in_order(log: Log) -> None:
    for number in range(20):
        log.append([record(number)])
    assert [entry.record for entry in log.read()] == [record(number) for number in range(20)]
    assert [entry.n for entry in log.read(after=17)] == [18, 19, 20]
    assert isinstance(log.verify(), Intact)


def test_it_is_an_oci_artifact_whose_manifest_tells_how_many_entries_it_has(
    log: Log, repository: MemoryRepository
) -> None:
    log.append([record(0), record(1)])
    manifest = manifest_of(repository)
    assert manifest.artifact_type == "application/vnd.mdeploy.audit.v1+json"
    assert manifest.annotations["dev.mdeploy.audit.entries"] == "2"
    assert [layer.media_type for layer in manifest.layers] == [SEGMENT]


@given(batches=st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_segments_are_put_together_so_that_there_are_few_and_each_line_is_rarely_rewritten(
    batches: list[int],
) -> None:
    sizes: list[int] = []
    written = 0
    for batch in batches:
        keep = segments_to_keep(sizes, batch)
        sizes = [*sizes[:keep], sum(sizes[keep:]) + batch]
        written += sizes[-1]
    assert sum(sizes) == sum(batches)
    assert len(sizes) <= 7 * 4 + sum(batches) // LARGE
    assert written <= 5 * sum(batches)


def test_thousands_of_entries_stay_quick(log: Log, repository: MemoryRepository) -> None:
    head = NOTHING
    for start in range(0, 4000, 500):
        records = [record(number) for number in range(start, start + 500)]
        head = log.append(records, after=head.n, seen=head)
    for number in range(4000, 4050):
        head = log.append([record(number)], after=head.n, seen=head)
    began = time.perf_counter()
    log.append([record(4051)], after=head.n, seen=head)
    appended = time.perf_counter() - began
    began = time.perf_counter()
    assert len(log.read()) == 4051
    print(f"append {1000 * appended:.1f} ms, read {1000 * (time.perf_counter() - began):.0f} ms")
    assert len(manifest_of(repository).layers) < 30
    assert appended < 0.5


def test_writers_at_once_all_get_in_and_a_reader_always_sees_a_whole_log(
    repository: MemoryRepository,
) -> None:
    over, sizes, faults = threading.Event(), [0], []

    def write(writer: int) -> None:
        mine = Log(repository, "digits")
        for number in range(12):
            mine.append([record(100 * writer + number)])

    def read() -> None:
        while not over.is_set():
            found = Log(repository, "digits").verify()
            faults.append(found) if isinstance(found, Broken) else sizes.append(found.entries)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    reader.join()
    assert faults == []
    assert sizes == sorted(sizes)
    ids = [entry.record.id for entry in Log(repository, "digits").read()]
    assert len(ids) == len(set(ids)) == 48


def test_a_record_that_is_there_already_is_not_written_twice(log: Log) -> None:
    log.append([record(1)])
    log.append([record(2), record(3)])
    assert log.append([record(3), record(4)], after=1).n == 4
    assert [entry.record.id for entry in log.read()] == [record(n).id for n in (1, 2, 3, 4)]


def test_an_answer_that_was_lost_does_not_double_the_entry(log: Log, repository: MemoryRepository) -> None:
    repository.loses_answers = 1
    with pytest.raises(RegistryUnavailable):
        log.append([record(1)])
    assert log.append([record(1)]).n == 1


# What was done by hand.


def grown(log: Log, entries: int = 20) -> list[Head]:
    return [log.append([record(number)]) for number in range(entries)]


def segment_with(repository: MemoryRepository, n: int) -> tuple[str, bytes]:
    for layer in manifest_of(repository).layers:
        content = repository.blobs[layer.digest]
        if any(Entry.from_line(line).n == n for line in chain.lines_of(content)):
            return layer.digest, content
    raise AssertionError(n)


def test_an_edit_in_a_segment_is_located_and_no_reader_believes_it(
    log: Log, repository: MemoryRepository
) -> None:
    grown(log)
    digest, content = segment_with(repository, 12)
    edited = content.replace(b"mdeploy deploy prod 11", b"mdeploy deploy prod XX")
    repository.blobs[digest] = edited
    found = log.verify()
    assert isinstance(found, Broken)
    assert (found.what, found.first) == ("changed", 12)
    with pytest.raises(RegistryRefused, match="was changed") as caught:
        log.read()
    assert caught.value.hint is not None
    assert "audit verify" in caught.value.hint


def test_a_segment_that_is_gone_is_told_with_its_entries(log: Log, repository: MemoryRepository) -> None:
    grown(log)
    digest, _ = segment_with(repository, 12)
    del repository.blobs[digest]
    found = log.verify()
    assert isinstance(found, Broken)
    assert (found.what, found.first, found.last) == ("removed", 9, 16)


def test_a_log_that_was_set_back_is_noticed_by_who_saw_it_and_nothing_is_appended(
    log: Log, repository: MemoryRepository
) -> None:
    heads = grown(log, 5)
    former = dict(repository.pointers)
    seen = log.append([record(77)])
    repository.pointers.update(former)
    assert isinstance(log.verify(), Intact)
    found = log.verify([*heads, seen])
    assert isinstance(found, Broken)
    assert (found.what, found.first, found.last) == ("cut", 6, 6)
    with pytest.raises(LogAltered, match="ends with entry 5, and had 6"):
        log.append([record(78)], seen=seen, after=6)


@pytest.mark.parametrize("from_entry", [1, 3, 6])
def test_a_log_that_was_rewritten_is_noticed_by_who_saw_it(from_entry: int, log: Log) -> None:
    seen = grown(log, 6)[-1]
    fake = MemoryRepository()
    forged = Log(fake, "digits")
    forged.append([record(number) for number in range(from_entry - 1)] or [record(500)])
    forged.append([record(200 + number) for number in range(8)])
    assert isinstance(forged.verify(), Intact)
    found = forged.verify([seen])
    assert isinstance(found, Broken)
    assert found.what == "rewritten"
    with pytest.raises(LogAltered):
        forged.append([record(99)], seen=seen, after=6)


def test_a_log_of_another_project_or_kind_is_refused(log: Log, repository: MemoryRepository) -> None:
    log.append([record(1)])
    with pytest.raises(RegistryRefused, match="no audit log of letters"):
        Log(repository, "letters").read()
    manifest = json.loads(repository.manifests[repository.pointers[TAG].digest])
    del manifest["annotations"]
    repository.pointers[TAG] = repository.put_manifest(json.dumps(manifest).encode(), "")
    with pytest.raises(RegistryRefused, match="no audit log"):
        log.read()
    assert isinstance(log.verify(), Broken)


def test_segments_that_were_read_are_not_fetched_again_and_a_damaged_copy_is_not_believed(
    repository: MemoryRepository, tmp_path: Path
) -> None:
    log = Log(repository, "digits", cache=tmp_path / "segments")
    grown(log)
    assert len(log.checked()[0]) == 20
    kept = {f"sha256:{path.name}" for path in (tmp_path / "segments").iterdir()}
    assert kept == {layer.digest for layer in manifest_of(repository).layers}
    for path in (tmp_path / "segments").iterdir():
        path.write_bytes(b"{}")
    assert len(log.read()) == 20
    repository.blobs.clear()
    assert len(log.read()) == 20
    assert isinstance(log.verify(), Broken)  # it looks at what is kept in the registry itself
