"""The contract that every registry must pass: the promises of `Registry` and `Repository`.

::

    @pytest.fixture
    def shelf(tmp_path):
        return Shelf(open=partial(FolderRegistry, tmp_path))

    class TestFolder(RepositoryContract):
        pass
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest

from modeldeploy.errors import ModelDeployError, RegistryRefused
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.registry.base import Registry, Repository, TagMoved
from modeldeploy.testing import racing
from modeldeploy.testing.content import MANIFEST, Content, Counter, cut_at, manifest_of, read, same

NOT_THERE = Content(7, seed=404)
LONGEST_TAG = 128
"""Characters: the limit of the distribution specification, and so of every registry."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """An empty registry, and what the contract must know about it.

    ``open`` opens it as another machine would: two of them share what is kept and nothing in memory. It is
    handed to other processes, so it has to be picklable (a function of a module, `functools.partial`).
    """

    open: Callable[[], Registry]
    name: str = "digits"
    """A repository that does not exist yet."""
    resumes: int | None = 1 << 20
    """An upload that was cut off goes on with at most so many bytes sent twice; None: it begins anew."""
    mounts: bool = True
    """Content that another repository has is not sent again."""
    part: int = 5 << 20
    """Uploads are sent in pieces of about this size; the contract cuts them between two."""
    big: int = 96 << 20
    """Size of the blob of which only a piece may be in memory at once …"""
    held: int = 64 << 20
    """… namely this much."""
    writers: int = 4
    rounds: int = 3
    """How often each of the writers changes a tag when they race for it."""
    falsify: Callable[[str, str, bytes], None] | None = None
    """Replace what is kept in a repository under a digest by other bytes, behind the registry's back."""


class RepositoryContract:
    """Tests for a registry. The fixture ``shelf`` gives a `Shelf` that no other test has used."""

    @pytest.fixture
    def repository(self, shelf: Shelf) -> Repository:
        """The repository, as one machine has it."""
        return shelf.open().repository(shelf.name)

    # -- a repository that is not there ----------------------------------------------------------------

    def test_a_repository_that_is_not_there_is_empty(self, repository: Repository) -> None:
        assert list(repository.tags()) == []
        assert repository.tag("prod") is None
        assert not repository.has_blob(NOT_THERE.digest())

    def test_what_is_not_there_is_refused(self, repository: Repository) -> None:
        for _ in range(2):
            with pytest.raises(RegistryRefused) as refused:
                read(repository, NOT_THERE.descriptor())
            with pytest.raises(RegistryRefused):
                repository.manifest(NOT_THERE.digest())
            racing.link(repository)  # and the same once the repository exists
        assert refused.value.message

    def test_it_says_where_it_is(self, shelf: Shelf, repository: Repository) -> None:
        assert shelf.name in repository.where
        assert shelf.open().url

    @pytest.mark.parametrize("name", ["", ".", "..", "../outside", "/etc", "a//b", "a/../b", "a\0b", "A b"])
    def test_a_name_that_leads_elsewhere_is_refused(self, shelf: Shelf, name: str) -> None:
        with pytest.raises(ModelDeployError):
            shelf.open().repository(name).tags()

    # -- blobs -----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 1, 70_001])
    def test_a_blob_comes_back_as_it_was(self, repository: Repository, size: int) -> None:
        content, counter = Content(size), Counter()
        sent = repository.push_blob(content.blob(), moved=counter)
        assert (sent.sent, sent.how, counter.total) == (size, "sent", size)
        assert repository.has_blob(content.digest())
        assert same(read(repository, content.descriptor()), content.read())

    def test_a_blob_of_several_parts_comes_back_as_it_was(self, shelf: Shelf, repository: Repository) -> None:
        content, counter = Content(2 * shelf.part + 12_345), Counter()
        assert repository.push_blob(content.blob(), moved=counter).sent == counter.total == content.size
        assert same(read(shelf.open().repository(shelf.name), content.descriptor()), content.read())

    def test_what_is_there_is_not_sent_again(self, shelf: Shelf, repository: Repository) -> None:
        content, counter = Content(70_001), Counter()
        repository.push_blob(content.blob(), moved=counter)
        for other in (repository, shelf.open().repository(shelf.name)):
            sent = other.push_blob(content.blob(notice=never), moved=never)
            assert (sent.sent, sent.how) == (0, "present")

    def test_a_blob_is_read_from_any_byte(self, repository: Repository) -> None:
        content = Content(200_000)
        repository.push_blob(content.blob(), moved=Counter())
        for start in (0, 1, 65_536, 199_999, 200_000):
            assert same(read(repository, content.descriptor(), start), content.read(start))

    def test_reading_may_stop_half_way(self, repository: Repository) -> None:
        content = Content(200_000)
        repository.push_blob(content.blob(), moved=Counter())
        for _ in range(12):  # more often than there are connections to spare
            with repository.open_blob(content.descriptor()) as stream:
                assert same(stream.read(1000), content.read(0, 1000))
        assert same(read(repository, content.descriptor()), content.read())

    def test_content_that_is_not_what_its_digest_says_is_refused(self, repository: Repository) -> None:
        content, named = Content(70_001), Content(70_001, seed=1)
        with pytest.raises(RegistryRefused):
            repository.push_blob(content.blob(named=named.descriptor()), moved=Counter())
        assert not repository.has_blob(named.digest())
        assert repository.push_blob(named.blob(), moved=Counter()).how == "sent"
        assert same(read(repository, named.descriptor()), named.read())

    @pytest.mark.parametrize("difference", [-1, 1])
    def test_content_of_another_size_is_refused(self, repository: Repository, difference: int) -> None:
        content = Content(70_001)
        wrong = replace(content.descriptor(), size=content.size + difference)
        with pytest.raises(RegistryRefused):
            repository.push_blob(content.blob(named=wrong), moved=Counter())
        assert not repository.has_blob(content.digest())

    def test_content_in_parts_that_is_not_what_its_digest_says_is_refused(
        self, shelf: Shelf, repository: Repository
    ) -> None:
        content, named = Content(2 * shelf.part + 1), Content(2 * shelf.part + 1, seed=1)
        with pytest.raises(RegistryRefused):
            repository.push_blob(content.blob(named=named.descriptor()), moved=Counter())
        assert not repository.has_blob(named.digest())
        repository.push_blob(named.blob(), moved=Counter())
        assert same(read(repository, named.descriptor()), named.read())

    def test_a_large_blob_is_never_in_memory_as_a_whole(self, shelf: Shelf) -> None:
        work = partial(racing.peak, shelf.open, shelf.name, Content(shelf.big))
        assert racing.in_processes(1, work)[0] <= shelf.held

    # -- uploads that are cut off ----------------------------------------------------------------------

    def test_half_a_blob_is_seen_by_nobody(self, shelf: Shelf, repository: Repository) -> None:
        content = Content(3 * shelf.part)
        seen: list[bool] = []
        other = shelf.open().repository(shelf.name)

        def look(position: int) -> None:
            if not seen and position >= shelf.part:
                seen.append(other.has_blob(content.digest()))

        repository.push_blob(content.blob(notice=look), moved=Counter())
        assert seen == [False]
        assert other.has_blob(content.digest())

    def test_an_upload_that_was_interrupted_goes_on(self, shelf: Shelf, repository: Repository) -> None:
        content = Content(4 * shelf.part + 1)
        with pytest.raises(KeyboardInterrupt):
            repository.push_blob(content.blob(notice=cut_at(3 * shelf.part)), moved=Counter())
        assert not repository.has_blob(content.digest())
        goes_on(shelf, repository, content, at=3 * shelf.part)

    def test_an_upload_that_was_killed_goes_on_from_another_process(
        self, shelf: Shelf, repository: Repository
    ) -> None:
        content = Content(4 * shelf.part + 1)
        racing.killed_at(shelf.open, shelf.name, content, 3 * shelf.part)
        assert not repository.has_blob(content.digest())
        goes_on(shelf, repository, content, at=3 * shelf.part)

    # -- the same at once ------------------------------------------------------------------------------

    def test_threads_may_push_and_read_at_once(self, repository: Repository) -> None:
        contents = [Content(70_001, seed=number % 3) for number in range(6)]

        def work(number: int) -> bool:
            repository.push_blob(contents[number].blob(), moved=Counter())
            return read(repository, contents[number].descriptor()) == contents[number].read()

        assert all(racing.in_threads(6, work))

    def test_processes_may_push_the_same_blob_at_once(self, shelf: Shelf, repository: Repository) -> None:
        content = Content(2 * shelf.part + 1)
        ways = racing.in_processes(3, partial(racing.push, shelf.open, shelf.name, content))
        assert "sent" in ways
        assert same(read(repository, content.descriptor()), content.read())

    # -- other repositories of the registry ------------------------------------------------------------

    def test_repositories_do_not_share_tags(self, shelf: Shelf, repository: Repository) -> None:
        repository.set_tag("prod", racing.link(repository), was=None)
        other = shelf.open().repository(f"{shelf.name}-2")
        assert other.tag("prod") is None
        assert list(other.tags()) == []

    def test_what_another_repository_has_is_not_sent_again(
        self, shelf: Shelf, repository: Repository
    ) -> None:
        content, counter = Content(2 * shelf.part + 1), Counter()
        repository.push_blob(content.blob(), moved=Counter())
        other = shelf.open().repository(f"{shelf.name}-2")
        sent = other.push_blob(content.blob(sources=("not-there", shelf.name)), moved=counter)
        if shelf.mounts:
            assert (sent.sent, sent.how, counter.total) == (0, "mounted", 0)
        assert same(read(other, content.descriptor()), content.read())

    def test_a_source_that_does_not_have_it_does_no_harm(self, shelf: Shelf, repository: Repository) -> None:
        content = Content(70_001)
        blob = content.blob(sources=("not-there", shelf.name, f"{shelf.name}-2"))
        assert repository.push_blob(blob, moved=Counter()).how == "sent"
        assert same(read(repository, content.descriptor()), content.read())

    # -- manifests -------------------------------------------------------------------------------------

    def test_a_manifest_is_kept_byte_for_byte_under_its_digest(self, repository: Repository) -> None:
        layer = Content(1000)
        repository.push_blob(layer.blob(), moved=Counter())
        content = manifest_of(layer.descriptor(), annotations={"key": "wért"}) + b"\n"
        for _ in range(2):
            found = repository.put_manifest(content, MANIFEST)
            assert (found.media_type, found.digest, found.size) == kept_as(content)
        assert same(repository.manifest(found.digest), content)

    def test_a_manifest_that_was_changed_behind_our_back_is_refused(
        self, shelf: Shelf, repository: Repository
    ) -> None:
        if shelf.falsify is None:
            pytest.skip("nobody can change what is behind this registry")
        found = racing.link(repository)
        shelf.falsify(shelf.name, found.digest, repository.manifest(found.digest).replace(b"2", b"3", 1))
        with pytest.raises(RegistryRefused):
            shelf.open().repository(shelf.name).manifest(found.digest)

    # -- tags ------------------------------------------------------------------------------------------

    def test_a_tag_that_is_set_is_found_from_elsewhere(self, shelf: Shelf, repository: Repository) -> None:
        there = racing.link(repository)
        repository.set_tag("1.0.0", there, was=None)
        found = shelf.open().repository(shelf.name).tag("1.0.0")
        assert found is not None
        assert (found.media_type, found.digest, found.size) == (MANIFEST, there.digest, there.size)

    def test_a_tag_is_created_once(self, repository: Repository) -> None:
        first, second = racing.link(repository, by="first"), racing.link(repository, by="second")
        repository.set_tag("1.0.0", first, was=None)
        for late in (first, second):
            with pytest.raises(TagMoved) as moved:
                repository.set_tag("1.0.0", late, was=None)
            assert moved.value.tag == "1.0.0"
            assert digest_of(moved.value.found) == first.digest
        assert digest_of(repository.tag("1.0.0")) == first.digest

    def test_a_tag_moves_only_from_where_it_was_thought_to_be(self, repository: Repository) -> None:
        first, second = racing.link(repository, by="first"), racing.link(repository, by="second")
        with pytest.raises(TagMoved) as moved:
            repository.set_tag("prod", second, was=first.digest)
        assert moved.value.found is None
        repository.set_tag("prod", first, was=None)
        with pytest.raises(TagMoved) as moved:
            repository.set_tag("prod", second, was=second.digest)
        assert digest_of(moved.value.found) == first.digest
        repository.set_tag("prod", second, was=first.digest)
        assert digest_of(repository.tag("prod")) == second.digest
        repository.set_tag("prod", first, was=second.digest)  # and back, as a rollback does
        repository.set_tag("prod", first, was=first.digest)
        assert digest_of(repository.tag("prod")) == first.digest

    def test_two_tags_may_point_to_one_manifest(self, repository: Repository) -> None:
        there, other = racing.link(repository), racing.link(repository, by="other")
        for tag in ("1.0.0", "prod"):
            repository.set_tag(tag, there, was=None)
        repository.set_tag("prod", other, was=there.digest)
        assert digest_of(repository.tag("1.0.0")) == there.digest

    def test_a_tag_for_a_manifest_that_is_not_there_is_refused(self, repository: Repository) -> None:
        racing.link(repository)
        with pytest.raises(RegistryRefused):
            repository.set_tag("prod", replace(NOT_THERE.descriptor(), media_type=MANIFEST), was=None)
        assert repository.tag("prod") is None
        assert list(repository.tags()) == []

    def test_tags_are_told_in_order(self, repository: Repository) -> None:
        tags = ["b", "a", "1.0.0", "1.0.0.bundle", "_audit", "B", f"sha256-{'0' * 64}.bundle", "10", "9"]
        there = racing.link(repository)
        for tag in tags:
            repository.set_tag(tag, there, was=None)
        assert list(repository.tags()) == sorted(tags)

    def test_names_at_the_limits_are_names(self, shelf: Shelf) -> None:
        name = f"team-1/{'long.' * 20}name"
        repository = shelf.open().repository(name)
        tags = ["0", "_", string.ascii_letters + string.digits + "-._", "x" * LONGEST_TAG]
        there = racing.link(repository)
        for tag in tags:
            repository.set_tag(tag, there, was=None)
            assert digest_of(repository.tag(tag)) == there.digest
        assert set(repository.tags()) == set(tags)

    @pytest.mark.parametrize("tag", ["", ".", "..", "-a", "a/b", "../b", "a b", "ä", "a\n", "x" * 129])
    def test_what_no_tag_can_be_is_refused(self, repository: Repository, tag: str) -> None:
        there = racing.link(repository)
        with pytest.raises(ModelDeployError):
            repository.set_tag(tag, there, was=None)
        assert list(repository.tags()) == []

    # -- tags, several at once -------------------------------------------------------------------------

    def test_of_threads_that_create_a_tag_one_wins(self, shelf: Shelf, repository: Repository) -> None:
        work = partial(racing.create, shelf.open, shelf.name)
        one_won(racing.in_threads(shelf.writers, work), repository)

    def test_of_processes_that_create_a_tag_one_wins(self, shelf: Shelf, repository: Repository) -> None:
        work = partial(racing.create, shelf.open, shelf.name)
        one_won(racing.in_processes(shelf.writers, work), repository)

    def test_threads_that_move_a_tag_lose_no_update(self, shelf: Shelf, repository: Repository) -> None:
        racing.in_threads(shelf.writers, partial(racing.prepend, shelf.open, shelf.name, shelf.rounds))
        nothing_lost(shelf, repository)

    def test_processes_that_move_a_tag_lose_no_update(self, shelf: Shelf, repository: Repository) -> None:
        racing.in_processes(shelf.writers, partial(racing.prepend, shelf.open, shelf.name, shelf.rounds))
        nothing_lost(shelf, repository)

    def test_those_who_set_different_tags_do_not_undo_each_other(
        self, shelf: Shelf, repository: Repository
    ) -> None:
        def work(number: int) -> str:
            own = shelf.open().repository(shelf.name)
            own.set_tag(f"tag-{number}", racing.link(own, by=str(number)), was=None)
            return f"tag-{number}"

        tags = racing.in_threads(shelf.writers, work)
        assert list(repository.tags()) == sorted(tags)


def never(value: int) -> None:
    """For content that must not be read, and bytes that must not move."""
    if value >= 0:
        raise AssertionError("what is there already was read or sent again")


def goes_on(shelf: Shelf, repository: Repository, content: Content, *, at: int) -> None:
    """An upload that was cut off there is finished, and little of it is sent twice."""
    counter = Counter()
    sent = repository.push_blob(content.blob(), moved=counter)
    if shelf.resumes is not None:
        assert sent.sent <= content.size - at + shelf.resumes
        assert sent.how == "sent"
    assert same(read(repository, content.descriptor()), content.read())


def digest_of(found: Descriptor | None) -> str | None:
    """Where a tag points."""
    return found.digest if found else None


def kept_as(content: bytes) -> tuple[str, str, int]:
    """Media type, digest and size of a manifest."""
    there = Descriptor.of(content, MANIFEST)
    return there.media_type, there.digest, there.size


def one_won(created: list[str | None], repository: Repository) -> None:
    """Of all who created a tag at once, one did, and the tag is his."""
    winners = [digest for digest in created if digest]
    assert len(winners) == 1
    assert digest_of(repository.tag("first")) == winners[0]


def nothing_lost(shelf: Shelf, repository: Repository) -> None:
    """Every update of the race is in the chain that the tag points to."""
    wanted = [f"{number}.{round_}" for number in range(shelf.writers) for round_ in range(shelf.rounds)]
    assert sorted(racing.chain(repository, "head")) == sorted(wanted)
