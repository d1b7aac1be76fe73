"""`mdeploy keygen` and `mdeploy sign`, as Python programs use them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import small_bundles
from image_place import base_for, image_of, part
from modeldeploy import ops
from modeldeploy.bundle.manifest import Manifest
from modeldeploy.bundle.store import BundleStore
from modeldeploy.config.load import load
from modeldeploy.errors import BundleError, ConfigError
from modeldeploy.events import Event
from modeldeploy.image.assemble import Image
from modeldeploy.image.cache import ImageCache
from modeldeploy.image.made import Made, keep
from modeldeploy.image.provenance import PREDICATE as SLSA
from modeldeploy.image.provenance import Means, platform_statement, provenance
from modeldeploy.image.sbom import PREDICATE as CYCLONEDX
from modeldeploy.image.sbom import bill_of_materials
from modeldeploy.model import Level
from modeldeploy.ops import references
from modeldeploy.ops.auditing import recorder
from modeldeploy.registry.base import Repository
from modeldeploy.signing import keys
from modeldeploy.signing.attesting import attestations
from modeldeploy.signing.verifying import verified
from signing_place import PASSWORD, RECORDED

MODEL = b"model" * 1000


def ignore(_: Event) -> None:
    """Nobody watches."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose registry is a folder, whose bundle was pushed, and with cosign's pair of keys."""
    monkeypatch.setenv("COSIGN_PASSWORD", PASSWORD.decode())
    root = small_bundles.project(tmp_path / "project", tmp_path / "registry")
    for name in ("cosign.key", "cosign.pub"):
        shutil.copyfile(RECORDED / name, root / name)
    with (root / "modeldeploy.toml").open("a") as file:
        file.write('\n[signing]\nkey = "cosign.key"\npublic_keys = ["cosign.pub"]\n')
    (root / "model.onnx").write_bytes(MODEL)
    small_bundles.put(MODEL)
    ops.push(root, "1.0.0", emit=ignore)
    return root


def repository(root: Path) -> Repository:
    return references.repository_at(root, "digits")


def test_what_was_pushed_is_signed_verified_and_written_down(project: Path) -> None:
    told: list[Event] = []
    done = ops.sign(project, emit=told.append)
    assert (done.ref, done.key) == ("digits:1.0.0", "cosign.key")
    assert [(one.what, one.tag, one.new) for one in done.manifests] == [("bundle", "1.0.0.bundle", True)]
    assert [event.kind for event in told if event.kind.startswith("sign")] == ["sign.done"]
    pushed = repository(project).tag("1.0.0.bundle")
    assert pushed
    public = keys.public_keys(load(project).signing().public_keys)
    (one,) = verified(repository(project), pushed, public)
    assert one.claims == {"version": "1.0.0", "bundle": done.digest}
    findings = ops.verify(project, "1.0.0", emit=ignore)
    (signature,) = [finding for finding in findings if finding.check == "signature"]
    assert (signature.level, signature.message) == (Level.OK, "the bundle is signed by cosign.pub")
    last = recorder(project, ignore).entries()[-1].record
    assert (last.kind, last.bundle and last.bundle.digest) == ("sign", done.digest)
    assert last.data["key"] == done.fingerprint


def test_signing_again_changes_nothing(project: Path) -> None:
    ops.sign(project, emit=ignore)
    before = len(recorder(project, ignore).entries())
    again = ops.sign(project, "digits:1.0.0", emit=ignore)
    assert [one.new for one in again.manifests] == [False]
    assert len(recorder(project, ignore).entries()) == before


@pytest.mark.parametrize("ref", ["1.0.0", "digits:1.0.0", "@staging", "sha256"])
def test_a_bundle_is_named_as_everywhere(project: Path, ref: str) -> None:
    ops.alias(project, "staging", "1.0.0", emit=ignore)
    digest = ops.sign(project, emit=ignore).digest
    assert ops.sign(project, digest if ref == "sha256" else ref, emit=ignore).digest == digest


def test_only_what_was_pushed_can_be_signed(project: Path) -> None:
    small_bundles.put(MODEL, version="2.0.0")
    with pytest.raises(BundleError, match=r"digits:2\.0\.0 is not in .*; there are 1\.0\.0"):
        ops.sign(project, "2.0.0", emit=ignore)


def test_what_the_registry_put_in_its_place_is_not_signed(project: Path, tmp_path: Path) -> None:
    other = small_bundles.put(b"another model", home=tmp_path / "other home")
    home = tmp_path / "home"
    shutil.rmtree(home / "bundles" / "refs")
    refs = home / "bundles" / "refs" / "digits"
    refs.mkdir(parents=True)
    (refs / "1.0.0").write_text(f"{other.ref.digest}\n")
    with pytest.raises(BundleError, match="what would be signed is not what was built here"):
        ops.sign(project, emit=ignore)


def test_another_key_may_be_given(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = ops.keygen(tmp_path, name="mine", password=lambda: b"mine")
    monkeypatch.chdir(tmp_path)
    done = ops.sign(project, key="mine.key", password=lambda: b"mine", emit=ignore)
    assert (done.key, done.fingerprint) == ("mine.key", pair.fingerprint)
    monkeypatch.setenv("OWN_KEY", pair.private.read_text())
    again = ops.sign(project, key="env://OWN_KEY", password=lambda: b"mine", emit=ignore)
    assert [one.new for one in again.manifests] == [False]


def test_without_a_key_it_says_how_to_get_one(project: Path) -> None:
    text = (project / "modeldeploy.toml").read_text()
    (project / "modeldeploy.toml").write_text(text.replace('key = "cosign.key"', ""))
    with pytest.raises(ConfigError, match="no key to sign with") as caught:
        ops.sign(project, emit=ignore)
    assert "mdeploy keygen" in (caught.value.hint or "")


def test_a_key_needs_a_password_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a private key needs a password"):
        ops.keygen(tmp_path, password=lambda: b"")
    with pytest.raises(ConfigError, match="there is no folder"):
        ops.keygen(tmp_path / "nope", password=lambda: b"x")


def test_an_image_is_signed_and_what_is_stated_about_it(project: Path) -> None:
    image = pushed_image(project)
    done = ops.sign(project, emit=ignore)
    assert [(one.what, one.tag, one.digest) for one in done.manifests][1:] == [
        ("image", "1.0.0", image.digest)
    ]
    assert sorted(done.statements) == [CYCLONEDX, SLSA]
    there, public = repository(project), keys.public_keys([str(project / "cosign.pub")])
    top = there.tag("1.0.0")
    assert top
    assert verified(there, top, public, claims={"version": "1.0.0"})
    (bill,) = attestations(there, image.platforms[0].descriptor, public, CYCLONEDX)
    assert bill.predicate["bomFormat"] == "CycloneDX"
    assert attestations(there, top, public, SLSA)
    assert ops.sign(project, emit=ignore).statements == ()
    told = [finding.message for finding in ops.verify(project, "1.0.0", emit=ignore)]
    assert "the image is signed by cosign.pub" in told


def test_what_only_the_registry_states_is_not_signed(project: Path, home: Path) -> None:
    pushed_image(project)
    ops.sign(project, emit=ignore)
    shutil.rmtree(home / "images" / "made")
    assert ops.sign(project, emit=ignore).statements == ()


def test_an_image_that_somebody_put_into_the_registry_is_not_signed(project: Path, home: Path) -> None:
    image = pushed_image(project)
    shutil.rmtree(home / "images" / "made")
    with pytest.raises(BundleError, match="was not made on this machine") as caught:
        ops.sign(project, emit=ignore)
    assert "mdeploy image digits:1.0.0" in (caught.value.hint or "")
    public = keys.public_keys([str(project / "cosign.pub")])
    there = repository(project)
    for tag in ("1.0.0", "1.0.0.bundle"):
        found = there.tag(tag)
        assert found
        assert verified(there, found, public) == ()
    assert image.digest


def pushed_image(root: Path) -> Image:
    """An image of the bundle, made on this machine with a bill and provenance, and pushed."""
    stored = BundleStore().find("digits", "1.0.0")
    bundle = Manifest.read(stored.path)
    image, cache = image_of(part("code", "code.py"), bundle=bundle), ImageCache()
    for each in image.platforms[0].parts:
        with each.blob.open(0) as stream:
            cache.put(stream.read(), each.blob.descriptor)
    first = image.platforms[0]
    bill = platform_statement(first, "digits", CYCLONEDX, bill_of_materials(first, bundle, base_for(), ()))
    means = Means("none", "3.11.2", "zlib-ng 1.1.0 level 6", (base_for(),))
    keep(Made(image, "none", (bill, provenance(image, bundle, stored.path, means))), cache)
    ops.push(root, "1.0.0", image=None, emit=ignore)
    return image
