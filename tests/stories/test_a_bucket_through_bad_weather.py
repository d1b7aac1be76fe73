"""A model goes into a bucket and comes back, while users press Ctrl-C, machines die and the network lies."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from faulty_proxy import FAULTS, Faults, proxy
from modeldeploy.oci.descriptor import Blob
from modeldeploy.registry.base import Registry, Repository
from modeldeploy.registry.folder import FolderRegistry
from modeldeploy.registry.s3 import upload
from modeldeploy.testing import racing
from modeldeploy.testing.content import Content, Counter, Cut, cut_at, read
from s3_place import Place, log_in, new_place, serving

pytestmark = pytest.mark.story

MODEL = Content(5 * upload.PART + 4321, seed=3)
INTERRUPTIONS = 8
KILLS = 2


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture
def place(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    log_in(monkeypatch)
    return new_place(endpoint)


def test_a_push_that_is_interrupted_at_random_goes_on_with_the_same_upload(place: Place) -> None:
    chance = random.Random(1)
    for turn in range(INTERRUPTIONS):
        offset = chance.randrange(MODEL.size)
        if turn % (INTERRUPTIONS // KILLS) == 0:
            racing.killed_at(place.open(), "digits", MODEL, offset)
        else:
            repository = place.open()().repository("digits")
            with pytest.raises(KeyboardInterrupt):
                repository.push_blob(MODEL.blob(notice=cut_at(offset)), moved=Counter())
        assert not place.open()().repository("digits").has_blob(MODEL.digest())
    assert len(place.uploads()) == 1, "all of them went on with one upload"
    repository, counter = place.open()().repository("digits"), Counter()
    sent = repository.push_blob(MODEL.blob(), moved=counter)
    assert sent.sent == counter.total < MODEL.size
    assert sha256(repository) == MODEL.digest()
    assert place.uploads() == []


def test_a_pull_that_is_interrupted_at_random_is_finished_at_last(place: Place, tmp_path: Path) -> None:
    chance, came = random.Random(2), Counter()
    place.open()().repository("digits").push_blob(MODEL.blob(), moved=Counter())
    local = partial(FolderRegistry, tmp_path / "registry")
    for turn in range(INTERRUPTIONS):
        offset = chance.randrange(MODEL.size)
        if turn % (INTERRUPTIONS // KILLS) == 0:
            racing.killed_when(partial(pull, place.open(), local), offset)
        else:
            with pytest.raises(KeyboardInterrupt):
                pull(place.open(), local, stop_after(offset), came)
        assert not local().repository("digits").has_blob(MODEL.digest())
    pull(place.open(), local, lambda _: None, came)
    assert read(local().repository("digits"), MODEL.descriptor()) == MODEL.read()


@pytest.mark.parametrize("kind", FAULTS)
def test_a_server_that_fails_now_and_then_is_asked_again(place: Place, kind: str, tmp_path: Path) -> None:
    faults = Faults(0.25, (kind,), seed=4)
    with proxy(place.endpoint, faults.next) as address:
        repository = place.open(address)().repository("digits")
        repository.push_blob(MODEL.blob(), moved=Counter())
        tag_several_times(repository)
        pull(place.open(address), partial(FolderRegistry, tmp_path), lambda _: None, Counter())
    assert faults.done[kind] >= 2
    assert sha256(place.open()().repository("digits")) == MODEL.digest()
    assert read(FolderRegistry(tmp_path).repository("digits"), MODEL.descriptor()) == MODEL.read()


def test_no_update_is_lost_although_answers_are(place: Place) -> None:
    faults = Faults(0.15, ("lost answer", "500"), seed=5)
    with proxy(place.endpoint, faults.next) as address:
        racing.in_threads(3, partial(racing.prepend, place.open(address), "digits", 3))
    repository = place.open()().repository("digits")
    chain = list(racing.chain(repository, "head"))
    assert sorted(chain) == [f"{writer}.{turn}" for writer in range(3) for turn in range(3)]
    assert faults.done


def tag_several_times(repository: Repository) -> None:
    was = None
    for turn in range(4):
        there = racing.link(repository, turn=str(turn))
        repository.set_tag("prod", there, was=was)
        was = there.digest
    found = repository.tag("prod")
    assert found is not None
    assert found.digest == was


def pull(
    source: Callable[[], Registry],
    local: Callable[[], FolderRegistry],
    notice: Callable[[int], None],
    moved: Callable[[int], None] = lambda _: None,
) -> None:
    """Bring the model into a registry on this disk, as `mdeploy pull` does."""
    there = source().repository("digits")
    position = 0

    def came(count: int) -> None:
        nonlocal position
        position += count
        moved(count)
        notice(position)

    def opened(start: int):  # type: ignore[no-untyped-def]  # as annotated in Blob
        nonlocal position
        position = start
        notice(position)
        return there.open_blob(MODEL.descriptor(), start=start).__enter__()

    local().repository("digits").push_blob(Blob(MODEL.descriptor(), opened), moved=came)


def stop_after(offset: int) -> Callable[[int], None]:
    def notice(position: int) -> None:
        if position >= offset:
            raise Cut

    return notice


def sha256(repository: Repository) -> str:
    state = hashlib.sha256()
    with repository.open_blob(MODEL.descriptor()) as stream:
        while piece := stream.read(1 << 20):
            state.update(piece)
    return f"sha256:{state.hexdigest()}"
