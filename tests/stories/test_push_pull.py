"""Two machines share bundles by a registry in a folder: what is pushed here is what is pulled there."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

import mounts
import shipping_child
import small_bundles
from modeldeploy import ops
from modeldeploy.bundle.manifest import BUILD_FACTS
from modeldeploy.bundle.store import BundleStore, Stored
from modeldeploy.config.load import load
from modeldeploy.errors import BundleError, ConfigError, RegistryError, RegistryRefused
from modeldeploy.events import Event
from modeldeploy.files import DiskFull
from modeldeploy.model import Level
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.ops.making import find_bundle
from modeldeploy.ops.shipping import Pushed
from modeldeploy.registry.folder import FolderRegistry, FolderRepository
from modeldeploy.testing.content import Content

pytestmark = pytest.mark.story
MODEL = random.Random(1).randbytes(3_000_000)
Home = Callable[[str], Path]


def ignore(event: Event) -> None:
    del event


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Go to another machine: another home. Returns the project's folder there."""

    def go(machine: str) -> Path:
        monkeypatch.setenv("MDEPLOY_HOME", str(tmp_path / machine / "home"))
        return small_bundles.project(tmp_path / machine / "project", tmp_path / "registry")

    return go


@pytest.fixture
def repository(tmp_path: Path) -> FolderRepository:
    return FolderRegistry(tmp_path / "registry").repository("digits")


def push(root: Path, ref: str = "1.0.0") -> Pushed:
    return ops.push(root, ref, emit=ignore)


def same_files(one: Stored, other: Path) -> bool:
    files = {p.relative_to(one.path): p.read_bytes() for p in one.path.rglob("*") if p.is_file()}
    return files == {p.relative_to(other): p.read_bytes() for p in other.rglob("*") if p.is_file()}


def test_what_is_pushed_on_one_machine_is_pulled_on_another(on: Home) -> None:
    here = on("here")
    stored = small_bundles.put(MODEL)
    pushed = push(here)
    assert (pushed.digest, pushed.unchanged) == (stored.ref.digest, False)
    there = on("there")
    pulled = ops.pull(there, "digits:1.0.0", emit=ignore)
    assert (pulled.ref, pulled.unchanged) == (stored.ref, False)
    assert same_files(stored, pulled.path)
    assert BundleStore().check(pulled.path, full=True).ref() == stored.ref
    assert json.loads((pulled.path / BUILD_FACTS).read_bytes())["git"]["commit"] == "0" * 40
    assert ops.pull(there, "1.0.0", emit=ignore).unchanged
    again = push(there)
    assert again.unchanged
    assert (again.sent, again.manifest) == (0, pushed.manifest)


def test_only_what_changed_moves(on: Home) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    push(here)
    small_bundles.put(MODEL, version="1.1.0", others={"src/service.py": b"answer = 43\n"})
    assert push(here, "1.1.0").sent < 20_000
    small_bundles.put(MODEL[::-1], version="1.2.0")
    assert len(MODEL) < push(here, "1.2.0").sent < 1.02 * len(MODEL)
    there = on("there")
    received: list[Event] = []
    ops.pull(there, "1.0.0", emit=ignore)
    ops.pull(there, "1.1.0", emit=received.append)
    moved = {event.data["name"]: event.data["moved"] for event in received if event.data["state"] == "done"}
    assert set(moved) == {"code"}


def test_a_version_that_exists_with_other_content_is_refused_before_anything_is_sent(
    on: Home, repository: FolderRepository
) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    push(here)
    there = on("there")
    small_bundles.put(MODEL[::-1])
    with pytest.raises(
        BundleError, match=r"exists in .* with other content .*: src/model\.onnx changed"
    ) as refused:
        push(there)
    assert "mdeploy build --bump patch" in (refused.value.hint or "")
    assert len(list((repository.layout.folder / "blobs" / "sha256").glob("*"))) < 12
    with pytest.raises(BundleError, match="was built on this machine with other content"):
        ops.pull(there, "1.0.0", emit=ignore)


def test_of_two_who_push_one_version_at_once_with_the_same_content_both_succeed(on: Home) -> None:
    roots = []
    for machine in ("here", "there"):
        roots.append(on(machine))
        small_bundles.put(MODEL)
    started = []
    for root in roots:
        on(root.parent.name)
        started.append(shipping_child.start("push", root, "1.0.0"))
    told = [child.communicate(timeout=60)[0].splitlines()[-1].split() for child in started]
    assert [one[0] for one in told] == ["Pushed", "Pushed"]
    assert told[0][1] == told[1][1]


def test_of_two_who_push_one_version_at_once_with_other_content_one_succeeds(
    on: Home, repository: FolderRepository
) -> None:
    for round_ in range(3):
        version = f"1.{round_}.0"
        started = []
        for machine, model in (("here", MODEL), ("there", MODEL[::-1])):
            root = on(machine)
            small_bundles.put(model, version=version)
            started.append(shipping_child.start("push", root, version))
        told = [child.communicate(timeout=60)[0].splitlines()[-1] for child in started]
        assert sorted(one.split()[0] for one in told) == ["BundleError", "Pushed"]
        winner = next(one.split()[1] for one in told if one.startswith("Pushed"))
        found = ops.pull(on("elsewhere"), version, emit=ignore)
        assert found.ref.digest == winner
        assert repository.tag(f"{version}.bundle")


@pytest.mark.parametrize("what", ["push", "pull"])
def test_killed_at_random_it_goes_on_and_the_digests_are_equal(
    on: Home, repository: FolderRepository, what: str
) -> None:
    model = random.Random(9).randbytes(60_000_000)
    root = on("here")
    stored = small_bundles.put(model)
    if what == "pull":
        push(root)
        root = on("there")
    chance, killed = random.Random(4), 0
    for _ in range(25):
        child = shipping_child.start(what, root, "1.0.0")
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(chance.uniform(0, 0.25))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        killed += child.returncode == -signal.SIGKILL
        _nothing_is_half(repository, Path(os.environ["MDEPLOY_HOME"]))
    assert killed >= 5
    last = push(root) if what == "push" else ops.pull(root, "1.0.0", emit=ignore)
    assert last
    pulled = ops.pull(on("elsewhere"), "1.0.0", emit=ignore)
    assert pulled.ref == stored.ref
    assert same_files(stored, pulled.path)
    assert all(finding.level is Level.OK for finding in ops.verify(on("elsewhere"), "1.0.0", emit=ignore))


def _nothing_is_half(repository: FolderRepository, home: Path) -> None:
    """What has a name has its content, in the registry and in the store."""
    for tag in repository.tags():
        found = repository.tag(tag)
        assert found is not None
        for layer in json.loads(repository.manifest(found.digest)).get("layers", []):
            assert repository.layout.blobs.has(layer["digest"], layer["size"])
    store = BundleStore(home)
    for stored in store.all():
        store.check(stored.path, full=True)


def test_what_was_sent_before_a_kill_is_not_sent_again(on: Home, repository: FolderRepository) -> None:
    root = on("here")
    small_bundles.put(MODEL)
    told: list[Event] = []

    def stop(event: Event) -> None:
        told.append(event)
        raise KeyboardInterrupt  # as early as anything is told

    pushed = 0
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            ops.push(root, "1.0.0", emit=stop)
        pushed += 1
    assert repository.tag("1.0.0.bundle") is None
    assert push(root).digest
    assert pushed == 3


def test_a_disk_that_is_full_is_told_and_the_pull_goes_on_later(on: Home, tmp_path: Path) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    push(here)
    with mounts.small_disk(tmp_path / "there", "4m"):
        there = on("there")
        ballast = mounts.fill(tmp_path / "there")
        os.truncate(ballast, ballast.stat().st_size - 1_500_000)
        with pytest.raises(DiskFull):
            ops.pull(there, "1.0.0", emit=ignore)
        assert BundleStore().all() == []
        ballast.unlink()
        told: list[Event] = []
        assert ops.pull(there, "1.0.0", emit=told.append).ref.version == "1.0.0"
        moved = {event.data["name"]: event.data["moved"] for event in told}
        assert cast("int", moved["src/model.onnx"]) < len(MODEL)


def test_a_registry_that_may_only_be_read_serves_pulls_and_refuses_pushes(on: Home, tmp_path: Path) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    push(here)
    small_bundles.put(MODEL, version="1.1.0", others={"src/service.py": b"1"})
    with mounts.read_only(tmp_path / "registry"):
        with pytest.raises(RegistryRefused, match="Read-only file system"):
            push(here, "1.1.0")
        assert push(here).unchanged
        assert ops.pull(on("there"), "1.0.0", emit=ignore)


def _break(path: Path, act: Callable[[bytes], bytes]) -> None:
    path.chmod(0o600)
    path.write_bytes(act(path.read_bytes()))


@pytest.mark.parametrize("piece", ["manifest", "config", "src/model.onnx", "environment", "code"])
@pytest.mark.parametrize("how", ["cut", "one bit", "longer", "gone"])
def test_whatever_piece_of_a_registry_is_damaged_nothing_of_it_is_taken(
    on: Home, repository: FolderRepository, piece: str, how: str
) -> None:
    here = on("here")
    stored = small_bundles.put(MODEL)
    pushed = push(here)
    digest = {layer.name: layer.digest for layer in pushed.layers} | {
        "manifest": pushed.manifest,
        "config": stored.ref.digest,
    }
    path = repository.layout.blobs.path(digest[piece])
    acts: dict[str, Callable[[bytes], bytes]] = {
        "cut": lambda content: content[: len(content) // 2],
        "one bit": lambda content: content[:700] + bytes([content[700] ^ 1]) + content[701:],
        "longer": lambda content: content + b"\0",
    }
    if how == "gone":
        path.unlink()
    else:
        _break(path, acts[how])
    there = on("there")
    levels = {finding.check: finding.level for finding in ops.verify(here, "1.0.0", emit=ignore)}
    assert levels["registry"] is Level.ERROR
    if piece == "src/model.onnx" and how == "one bit":
        # The bit is in a header, which says nothing that the manifest has not said: the file is whole.
        assert same_files(stored, ops.pull(there, "1.0.0", emit=ignore).path)
        return
    with pytest.raises(RegistryError):
        ops.pull(there, "1.0.0", emit=ignore)
    assert BundleStore().all() == []
    path.unlink(missing_ok=True)  # what the message says, and then all is well again
    push(on("here"))
    assert same_files(stored, ops.pull(on("there"), "1.0.0", emit=ignore).path)


def test_a_model_that_was_changed_in_the_registry_is_not_taken(
    on: Home, repository: FolderRepository
) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    pushed = push(here)
    layer = next(layer for layer in pushed.layers if layer.name == "src/model.onnx")
    path = repository.layout.blobs.path(layer.digest)
    _break(path, lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    with pytest.raises(RegistryRefused):
        ops.pull(on("there"), "1.0.0", emit=ignore)
    assert BundleStore().all() == []


def test_an_honest_looking_artifact_with_another_file_is_not_taken(
    on: Home, repository: FolderRepository
) -> None:
    """Layers of another bundle under this bundle's manifest: each digest is right, the files are not."""
    here = on("here")
    small_bundles.put(MODEL)
    small_bundles.put(MODEL[::-1], version="2.0.0")
    push(here)
    push(here, "2.0.0")
    found = [repository.tag(f"{version}.bundle") for version in ("1.0.0", "2.0.0")]
    first, second = (json.loads(repository.manifest(tag.digest)) for tag in found if tag)
    forged = json.dumps({**first, "layers": second["layers"]}).encode()
    put = repository.put_manifest(forged, first["mediaType"])
    assert found[0]
    repository.set_tag("1.0.0.bundle", put, was=found[0].digest)
    with pytest.raises(RegistryRefused, match="not what"):
        ops.pull(on("there"), "1.0.0", emit=ignore)
    assert BundleStore().all() == []


def test_a_tag_that_somebody_moved_to_another_version_is_noticed(
    on: Home, repository: FolderRepository
) -> None:
    here = on("here")
    for version, model in (("1.0.0", MODEL), ("2.0.0", MODEL[::-1])):
        small_bundles.put(model, version=version)
        push(here, version)
    old, new = repository.tag("1.0.0.bundle"), repository.tag("2.0.0.bundle")
    assert old and new
    repository.set_tag("1.0.0.bundle", new, was=old.digest)
    with pytest.raises(RegistryRefused, match="somebody has moved its tags"):
        ops.pull(on("there"), "1.0.0", emit=ignore)


def test_a_bundle_in_layers_of_another_division_is_read_all_the_same(
    on: Home, repository: FolderRepository
) -> None:
    """As a later mdeploy may divide it: the manifest of the bundle decides."""
    from modeldeploy.bundle import layers
    from modeldeploy.bundle.artifact import BUNDLE_TYPE, MANIFEST_TYPE
    from modeldeploy.bundle.manifest import Manifest
    from modeldeploy.oci import manifest as oci
    from modeldeploy.oci import tar

    here = on("here")
    stored = small_bundles.put(MODEL)
    push(here)
    groups = layers.groups_of(Manifest.read(stored.path))
    everything = layers.Group("all", tuple(file for group in groups for file in group.files))
    layer = tar.layer_of(layers.entries_of(everything, stored.path), name="all")
    repository.push_blob(layer.blob(), moved=lambda _: None)
    config = Descriptor(MANIFEST_TYPE, stored.ref.digest, (stored.path / "mdeploy.json").stat().st_size)
    other = oci.Manifest(config, (layer.descriptor(),), BUNDLE_TYPE)
    put = repository.put_manifest(other.to_bytes(), other.media_type)
    old = repository.tag("1.0.0.bundle")
    assert old
    repository.set_tag("1.0.0.bundle", put, was=old.digest)
    assert same_files(stored, ops.pull(on("there"), "1.0.0", emit=ignore).path)
    assert push(on("there")).unchanged


def test_an_alias_moves_and_keeps_its_history(on: Home) -> None:
    here = on("here")
    for version, model in (("1.0.0", MODEL), ("1.1.0", MODEL[::-1])):
        small_bundles.put(model, version=version)
        push(here, version)
    first = ops.alias(here, "@prod", "1.0.0", emit=ignore)
    assert (first.moved, first.previous) == (True, None)
    assert not ops.alias(here, "prod", "1.0.0", emit=ignore).moved
    second = ops.alias(here, "prod", "digits:1.1.0", emit=ignore)
    assert second.previous == first.bundle
    there = on("there")
    assert ops.pull(there, "@prod", emit=ignore).ref == second.bundle
    assert [(one.name, one.bundle.version) for one in ops.aliases(there, emit=ignore)] == [("prod", "1.1.0")]
    history = ops.alias(there, "@prod", emit=ignore).history
    assert [move.bundle.version for move in history] == ["1.1.0", "1.0.0"]


@pytest.mark.parametrize("name", ["Prod", "1.0.0", "", "@", "@@prod", "a/b", "x" * 64])
def test_what_can_be_no_alias_is_refused(on: Home, name: str) -> None:
    here = on("here")
    with pytest.raises(Exception, match="can be no alias"):
        ops.alias(here, name, "1.0.0", emit=ignore)


def test_a_version_is_no_alias(on: Home) -> None:
    here = on("here")
    for version, model in (("stable", MODEL), ("1.1.0", MODEL[::-1])):
        small_bundles.put(model, version=version)
        push(here, version)
    with pytest.raises(BundleError, match="versions never change"):
        ops.alias(here, "stable", "1.1.0", emit=ignore)
    assert ops.aliases(here, emit=ignore) == ()


def test_those_who_move_one_alias_at_once_all_do_one_after_the_other(on: Home) -> None:
    here = on("here")
    versions = [f"1.{number}.0" for number in range(4)]
    for number, version in enumerate(versions):
        small_bundles.put(MODEL[number:], version=version)
        push(here, version)
    threads = [
        threading.Thread(target=ops.alias, args=(here, "prod", version), kwargs={"emit": ignore})
        for version in versions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = ops.alias(here, "prod", emit=ignore)
    assert sorted(move.bundle.version for move in found.history) == versions


def test_a_bundle_that_is_nowhere_is_told_with_what_there_is(on: Home) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    push(here)
    there = on("there")
    with pytest.raises(
        BundleError, match=r"digits:1\.0\.1 is not in .*; there are 1\.0\.0; did you mean 1\.0\.0"
    ):
        ops.pull(there, "1.0.1", emit=ignore)
    with pytest.raises(BundleError, match="no alias @prod"):
        ops.pull(there, "@prod", emit=ignore)
    with pytest.raises(BundleError, match="too short"):
        ops.pull(there, "sha256:abc", emit=ignore)


def test_a_word_that_may_be_a_folder_or_not_makes_none(on: Home) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    for word, told in (("prod", "no folder 'prod'"), ("registry.example.com/team", "a host or a folder")):
        with pytest.raises(ConfigError, match=told):
            ops.push(here, "1.0.0", to=word, emit=ignore)
        assert not Path(word).exists()


def test_a_bundle_is_found_by_the_beginning_of_its_digest(on: Home) -> None:
    here = on("here")
    stored = small_bundles.put(MODEL)
    push(here)
    assert ops.pull(on("there"), stored.ref.digest[:17], emit=ignore).ref == stored.ref


def test_verify_reads_every_byte_here_and_there(on: Home) -> None:
    here = on("here")
    stored = small_bundles.put(MODEL)
    push(here)
    assert [(one.check, one.level) for one in ops.verify(here, emit=ignore)] == [
        ("store", Level.OK),
        ("registry", Level.OK),
    ]
    model = stored.path / "src" / "model.onnx"
    times = model.stat()
    _break(model, lambda content: content[:-1] + b"!")
    os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))
    found = {one.check: one for one in ops.verify(here, "digits:1.0.0", emit=ignore)}
    assert found["store"].level is Level.ERROR
    assert "src/model.onnx" in found["store"].message
    assert found["registry"].level is Level.OK


def test_verify_says_what_was_not_pushed(on: Home) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    (store, registry) = ops.verify(here, "1.0.0", emit=ignore)
    assert (store.level, registry.level) == (Level.OK, Level.WARNING)
    assert registry.remedy == "mdeploy push digits:1.0.0"


def test_a_push_to_another_registry_leaves_the_projects_own_alone(on: Home, tmp_path: Path) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    ops.push(here, "1.0.0", to=str(tmp_path / "other"), emit=ignore)
    assert not (tmp_path / "registry" / "digits").exists()
    pulled = ops.pull(on("there"), "1.0.0", source=str(tmp_path / "other"), emit=ignore)
    assert pulled.ref.version == "1.0.0"


def test_what_is_not_on_this_machine_is_fetched_wherever_a_bundle_is_asked_for(on: Home) -> None:
    here = on("here")
    stored = small_bundles.put(MODEL)
    push(here)
    ops.alias(here, "prod", "1.0.0", emit=ignore)
    for machine, ref in (("there", "1.0.0"), ("elsewhere", "@prod"), ("third", stored.ref.digest)):
        project = load(on(machine))
        found = find_bundle(project, ref, ignore)
        assert (found.ref, found.unchanged) == (stored.ref, False)
        assert find_bundle(project, "1.0.0", ignore).unchanged


def test_what_is_on_this_machine_needs_no_registry(on: Home, tmp_path: Path) -> None:
    here = on("here")
    stored = small_bundles.put(MODEL)
    (tmp_path / "registry").write_bytes(b"no folder at all")
    assert find_bundle(load(here), "1.0.0", ignore).ref == stored.ref
    with pytest.raises(RegistryError):
        find_bundle(load(here), "1.0.1", ignore)


def test_a_bundle_that_is_nowhere_is_told_by_both_places(on: Home) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    with pytest.raises(BundleError, match=r"was not built on this machine; .*; nor is it in .*registry"):
        find_bundle(load(here), "1.0.1", ignore)


def test_two_who_pull_the_same_at_once_both_have_it(on: Home) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    push(here)
    there = on("there")
    children = [shipping_child.start("pull", there, "1.0.0") for _ in range(3)]
    told = {child.communicate(timeout=60)[0].splitlines()[-1] for child in children}
    assert len(told) == 1
    assert told.pop().startswith("Pulled sha256:")


def test_two_files_of_the_same_content_come_as_they_were(on: Home) -> None:
    here = on("here")
    stored = small_bundles.put(MODEL, others={"src/copy.onnx": MODEL, "src/copy.sh": MODEL})
    push(here)
    pulled = ops.pull(on("there"), "1.0.0", emit=ignore)
    assert same_files(stored, pulled.path)
    assert os.access(pulled.path / "src/copy.sh", os.X_OK)
    assert BundleStore().check(pulled.path, full=True)


def test_a_registry_that_lies_about_sizes_fills_no_disk(on: Home, repository: FolderRepository) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    push(here)
    found = repository.tag("1.0.0.bundle")
    assert found
    manifest = json.loads(repository.manifest(found.digest))
    endless = Content(300_000_000, seed=5)
    repository.push_blob(endless.blob(), moved=lambda _: None)
    manifest["layers"].append(endless.descriptor().to_json())
    put = repository.put_manifest(json.dumps(manifest).encode(), manifest["mediaType"])
    repository.set_tag("1.0.0.bundle", put, was=found.digest)
    with pytest.raises(RegistryRefused, match="more than its files can be"):
        ops.pull(on("there"), "1.0.0", emit=ignore)


@pytest.mark.parametrize(
    "place", ["ftp://x/y", "https://ada:hunter2@example.com/x", "http://example.com", "~/r"]
)
def test_a_place_that_is_no_registry_is_refused_without_its_password(on: Home, place: str) -> None:
    here = on("here")
    small_bundles.put(MODEL)
    for act in (
        lambda: ops.push(here, "1.0.0", to=place, emit=ignore),
        lambda: ops.pull(here, "1.0.0", source=place, emit=ignore),
    ):
        with pytest.raises(ConfigError) as refused:
            act()
        assert "hunter2" not in f"{refused.value.message} {refused.value.hint}"


def test_every_push_is_in_the_audit_log_once(on: Home) -> None:
    here = on("here")
    stored = small_bundles.put(MODEL)
    push(here)
    push(here)
    told = [entry for entry in ops.audit(here, limit=50, emit=ignore).entries if entry.kind == "push"]
    assert [entry.bundle for entry in told] == [stored.ref]
