"""Each promise of the registries' contract is one that a registry can break, and then a test fails."""

from __future__ import annotations

from functools import partial
from inspect import signature
from pathlib import Path

import pytest

import broken_registries as broken
from broken_registries import Broken
from modeldeploy.errors import RegistryRefused
from modeldeploy.registry.folder import FolderRepository
from modeldeploy.testing import RepositoryContract, Shelf

ARGUMENTS = {"name": "../outside", "size": 70_001, "difference": 1, "tag": "a/b"}

BITES = [
    (broken.SendsAgain, "test_what_is_there_is_not_sent_again"),
    (broken.CountsNothing, "test_a_blob_comes_back_as_it_was"),
    (broken.ReadsFromTheStart, "test_a_blob_is_read_from_any_byte"),
    (broken.TakesAnything, "test_content_that_is_not_what_its_digest_says_is_refused"),
    (broken.TakesAnything, "test_content_in_parts_that_is_not_what_its_digest_says_is_refused"),
    (broken.TakesAnything, "test_content_of_another_size_is_refused"),
    (broken.HoldsAll, "test_a_large_blob_is_never_in_memory_as_a_whole"),
    (broken.ShowsHalf, "test_half_a_blob_is_seen_by_nobody"),
    (broken.ShowsHalf, "test_an_upload_that_was_interrupted_goes_on"),
    (broken.ShowsHalf, "test_an_upload_that_was_killed_goes_on_from_another_process"),
    (broken.BeginsAnew, "test_an_upload_that_was_interrupted_goes_on"),
    (broken.BeginsAnew, "test_an_upload_that_was_killed_goes_on_from_another_process"),
    (broken.FindsNothingElsewhere, "test_what_another_repository_has_is_not_sent_again"),
    (broken.LeaksItsOwnErrors, "test_what_is_not_there_is_refused"),
    (broken.BelievesItsDisk, "test_a_manifest_that_was_changed_behind_our_back_is_refused"),
    (broken.AddsALine, "test_a_manifest_is_kept_byte_for_byte_under_its_digest"),
    (broken.NoTagsNoAnswer, "test_a_repository_that_is_not_there_is_empty"),
    (broken.InAnyOrder, "test_tags_are_told_in_order"),
    (broken.TagsWithoutCase, "test_names_at_the_limits_are_names"),
    (broken.TagsAnything, "test_a_tag_for_a_manifest_that_is_not_there_is_refused"),
    (broken.LastOneWins, "test_a_tag_is_created_once"),
    (broken.LastOneWins, "test_a_tag_moves_only_from_where_it_was_thought_to_be"),
    (broken.DoesNotSayWhatItFound, "test_a_tag_is_created_once"),
    (broken.LooksThenSets, "test_of_threads_that_create_a_tag_one_wins"),
    (broken.LooksThenSets, "test_of_processes_that_create_a_tag_one_wins"),
    (broken.LooksThenSets, "test_threads_that_move_a_tag_lose_no_update"),
    (broken.LooksThenSets, "test_processes_that_move_a_tag_lose_no_update"),
]


@pytest.mark.parametrize(("kind", "promise"), BITES, ids=lambda part: getattr(part, "__name__", part))
def test_a_registry_that_breaks_a_promise_is_caught(
    kind: type[FolderRepository], promise: str, tmp_path: Path
) -> None:
    caught(shelf_of(Broken, kind, tmp_path), promise)


@pytest.mark.parametrize(
    ("registry", "promise"),
    [
        (broken.SharesTags, "test_repositories_do_not_share_tags"),
        (broken.OpensAnyFolder, "test_a_name_that_leads_elsewhere_is_refused"),
    ],
)
def test_so_is_one_that_confuses_repositories(registry: type[Broken], promise: str, tmp_path: Path) -> None:
    caught(shelf_of(registry, FolderRepository, tmp_path), promise)


def shelf_of(registry: type[Broken], kind: type[FolderRepository], tmp_path: Path) -> Shelf:
    folder = tmp_path / "registry"

    def falsify(name: str, digest: str, content: bytes) -> None:
        path = folder / name / "blobs" / digest.replace(":", "/")
        path.unlink()
        path.write_bytes(content)

    return Shelf(open=partial(registry, kind, folder), falsify=falsify)


def caught(shelf: Shelf, promise: str) -> None:
    test = getattr(RepositoryContract(), promise)
    known = {**ARGUMENTS, "shelf": shelf, "repository": shelf.open().repository(shelf.name)}
    wanted = {name: known[name] for name in signature(test).parameters}
    with pytest.raises((AssertionError, RegistryRefused, pytest.fail.Exception, OSError, ValueError)):
        test(**wanted)
