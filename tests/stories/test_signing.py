"""Signatures between two programs: the real cosign and mdeploy, over a real registry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from modeldeploy.image.provenance import PREDICATE as SLSA
from modeldeploy.image.sbom import PREDICATE as CYCLONEDX
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.registry.base import Repository
from modeldeploy.registry.folder import FolderRegistry
from modeldeploy.registry.remote import RemoteRegistry
from modeldeploy.registry.s3 import S3Registry
from modeldeploy.signing import keys, signers
from modeldeploy.signing.attesting import attest, attestations
from modeldeploy.signing.signers import LocalSigner, ServiceSigner
from modeldeploy.signing.verifying import judge, sign, verified
from registry_place import registry
from s3_place import log_in, serving
from signing_place import PASSWORD, RECORDED, cosign, something

pytestmark = pytest.mark.story

TRUSTED = ("--insecure-ignore-tlog", "--key")
OFFLINE = ("--yes", "--tlog-upload=false", "--key")
OWN_PASSWORD = b"other words"


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pair that cosign made and one that mdeploy made."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("cosign.key", "cosign.pub"):
        shutil.copyfile(RECORDED / name, folder / name)
    keys.generate(folder, OWN_PASSWORD, name="ours")
    return folder


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    with registry(tmp_path_factory.mktemp("registry")) as place:
        yield RemoteRegistry(place.url).repository("digits")


def open_key(keyring: Path, name: str) -> LocalSigner | ServiceSigner:
    password = OWN_PASSWORD if name == "ours" else PASSWORD
    return signers.open_signer(f"{name}.key", keyring, password=lambda: password)


def named(repository: Repository, what: Descriptor) -> str:
    return f"{repository.where}@{what.digest}"


@pytest.mark.parametrize("key", ["ours", "cosign"])
def test_cosign_verifies_what_mdeploy_signed(remote: Repository, keyring: Path, key: str) -> None:
    wanted = something(remote, f"by-mdeploy-{key}")
    sign(remote, wanted, open_key(keyring, key), claims={"version": "1.0.0"})
    pub = f"{key}.pub"
    done = cosign("verify", *TRUSTED, pub, "-a", "version=1.0.0", named(remote, wanted), home=keyring)
    assert done.returncode == 0, done.stderr
    (payload,) = json.loads(done.stdout)
    assert payload["critical"]["image"]["docker-manifest-digest"] == wanted.digest
    other = cosign("verify", *TRUSTED, pub, "-a", "version=2.0.0", named(remote, wanted), home=keyring)
    assert other.returncode != 0
    stranger = "cosign.pub" if key == "ours" else "ours.pub"
    assert cosign("verify", *TRUSTED, stranger, named(remote, wanted), home=keyring).returncode != 0


@pytest.mark.parametrize("key", ["ours", "cosign"])
def test_mdeploy_verifies_what_cosign_signed(remote: Repository, keyring: Path, key: str) -> None:
    wanted = something(remote, f"by-cosign-{key}")
    password = OWN_PASSWORD if key == "ours" else PASSWORD
    ref = named(remote, wanted)
    done = cosign("sign", *OFFLINE, f"{key}.key", "-a", "version=1.0.0", ref, home=keyring, password=password)
    assert done.returncode == 0, done.stderr
    own = keys.public_keys([str(keyring / f"{key}.pub")])
    (one,) = verified(remote, wanted, own, claims={"version": "1.0.0"})
    assert one.identity == remote.where
    assert judge(remote, wanted, own, claims={"version": "2.0.0"}).verified == ()
    stranger = keys.public_keys([str(keyring / ("cosign.pub" if key == "ours" else "ours.pub"))])
    assert verified(remote, wanted, stranger) == ()


def test_both_sign_one_manifest_and_each_verifies_both(remote: Repository, keyring: Path) -> None:
    wanted = something(remote, "by-both")
    ref = named(remote, wanted)
    sign(remote, wanted, open_key(keyring, "ours"))
    assert cosign("sign", *OFFLINE, "cosign.key", ref, home=keyring).returncode == 0
    sign(remote, wanted, open_key(keyring, "ours"), claims={"version": "2"})
    for key in ("ours.pub", "cosign.pub"):
        assert cosign("verify", *TRUSTED, key, ref, home=keyring).returncode == 0
        assert verified(remote, wanted, keys.public_keys([str(keyring / key)]))


def test_attestations_go_both_ways(remote: Repository, keyring: Path) -> None:
    about = something(remote, "attested")
    ref = named(remote, about)
    provenance = {"buildDefinition": {"buildType": "x"}, "runDetails": {"builder": {"id": "x"}}}
    attest(remote, about, SLSA, provenance, open_key(keyring, "ours"))
    attest(remote, about, CYCLONEDX, {"bomFormat": "CycloneDX"}, open_key(keyring, "ours"))
    for kind in ("slsaprovenance1", "cyclonedx"):
        done = cosign("verify-attestation", *TRUSTED, "ours.pub", "--type", kind, ref, home=keyring)
        assert done.returncode == 0, done.stderr
    (keyring / "predicate.json").write_text('{"hello": 1}')
    done = cosign(
        *("attest", *OFFLINE, "cosign.key", "--type", "https://example.com/x"),
        *("--predicate", "predicate.json", ref),
        home=keyring,
    )
    assert done.returncode == 0, done.stderr
    (one,) = attestations(remote, about, keys.public_keys([str(keyring / "cosign.pub")]))
    assert (one.predicate_type, one.predicate) == ("https://example.com/x", {"hello": 1})
    assert len(attestations(remote, about, keys.public_keys([str(keyring / "ours.pub")]))) == 2


def test_a_bucket_and_a_folder_keep_signatures_too(
    tmp_path: Path, keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    log_in(monkeypatch)
    with serving() as endpoint:
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="signed")
        bucket = S3Registry("s3://signed/team", endpoint=endpoint).repository("digits")
        folder = FolderRegistry(tmp_path / "registry").repository("digits")
        for repository in (bucket, folder):
            wanted = something(repository)
            sign(repository, wanted, open_key(keyring, "ours"), claims={"version": "1.0.0"})
            attest(repository, wanted, SLSA, {}, open_key(keyring, "ours"))
            own = keys.public_keys([str(keyring / "ours.pub")])
            assert verified(repository, wanted, own, claims={"version": "1.0.0"})
            assert attestations(repository, wanted, own, SLSA)
