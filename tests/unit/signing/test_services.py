"""Keys that never leave a service, brought by another package."""

import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from modeldeploy.errors import ConfigError
from modeldeploy.registry.base import Repository
from modeldeploy.signing import keys, signers
from modeldeploy.signing.verifying import sign, verified
from signing_place import something

KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("acme://team/key", "acme://other")}


class Kms:
    """As a cloud's: it is given a digest, and the key stays with it."""

    def __init__(self, reference: str) -> None:
        if reference == "acme://down":
            raise OSError("no route to the service")
        self.key = KEYS[reference if reference in KEYS else "acme://team/key"]
        self.lies = reference == "acme://lies"

    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, digest: bytes) -> bytes:
        key = KEYS["acme://other"] if self.lies else self.key
        return key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that registers the service."""
    info = tmp_path / "site" / "acme_kms-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-kms\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modeldeploy.signers]\nacme = acme_kms:Kms\n")
    module = type(sys)("acme_kms")
    module.Kms = Kms  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "acme_kms", module)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def test_a_service_signs_and_its_public_key_verifies(tmp_path: Path, repository: Repository) -> None:
    wanted = something(repository)
    signer = signers.open_signer("acme://team/key", tmp_path)
    assert sign(repository, wanted, signer).new
    trusted = keys.public_keys(["acme://team/key"])
    assert [one.key for one in verified(repository, wanted, trusted)] == ["acme://team/key"]
    assert verified(repository, wanted, keys.public_keys(["acme://other"])) == ()


def test_a_service_whose_signatures_are_not_its_own_is_found_out(tmp_path: Path) -> None:
    signer = signers.open_signer("acme://lies", tmp_path)
    with pytest.raises(ConfigError, match="a signature that its own public key does not verify"):
        signer.sign(b"content")


def test_a_service_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the key acme://down: OSError: no route to the service"):
        signers.open_signer("acme://down", tmp_path)


def test_a_service_of_another_scheme_is_not_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no package signs by 'acne://'; there are acme"):
        signers.open_signer("acne://team/key", tmp_path)
