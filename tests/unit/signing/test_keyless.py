"""Signatures without a key. Sigstore itself is not asked: who vouches is a service of this test's own."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modeldeploy.config.settings import Identity
from modeldeploy.errors import ConfigError
from modeldeploy.registry.base import Repository
from modeldeploy.signing import keyless
from modeldeploy.signing.keyless import BUNDLE, Sigstore, Vouched
from modeldeploy.signing.signers import LocalSigner
from modeldeploy.signing.verifying import SIGNATURE, judge, sign, sign_keyless, verified
from signing_place import something
from tls_place import authority

RELEASE = Identity("https://example.com/release.yml@main", "https://token.example.com")
STRANGER = Identity("https://example.com/fork.yml@main", "https://token.example.com")


@dataclass
class Notary:
    """Signs, and knows afterwards who signed what: the part of Sigstore, in one process."""

    me: Identity
    certificate: str
    known: dict[tuple[bytes, str], Identity] = field(default_factory=dict)

    def sign(self, content: bytes) -> Vouched:
        bundle = json.dumps({"number": len(self.known)})
        self.known[content, bundle] = self.me
        return Vouched(b"signature", self.certificate, bundle)

    def vouches(self, content: bytes, bundle: str, identity: Identity) -> bool:
        return self.known.get((content, bundle)) == identity


Call = Callable[[Identity], Notary]


@pytest.fixture
def notary_of(tmp_path: Path) -> Call:
    certificate = authority(tmp_path / "authority")[0].read_text()
    return lambda me: Notary(me, certificate)


def test_an_identity_that_counts_is_told(repository: Repository, notary_of: Call) -> None:
    wanted, notary = something(repository), notary_of(RELEASE)
    assert sign_keyless(repository, wanted, notary, claims={"version": "1.0.0"}).new
    both, said = [STRANGER, RELEASE], {"version": "1.0.0"}
    (one,) = verified(repository, wanted, [], claims=said, identities=both, service=notary)
    assert (one.key, one.fingerprint) == (RELEASE.subject, RELEASE.issuer)
    other = {"version": "2.0.0"}
    assert verified(repository, wanted, [], claims=other, identities=both, service=notary) == ()


def test_another_identity_does_not_count(repository: Repository, notary_of: Call) -> None:
    wanted, notary = something(repository), notary_of(STRANGER)
    sign_keyless(repository, wanted, notary)
    judged = judge(repository, wanted, [], identities=[RELEASE], service=notary)
    assert judged.verified == ()
    assert judged.rejected == (f"a signature was made by none of {RELEASE.subject}",)
    assert verified(repository, wanted, [], service=notary) == ()


def test_signatures_with_and_without_a_key_stand_beside_each_other(
    repository: Repository, ours: LocalSigner, notary_of: Call
) -> None:
    wanted, notary = something(repository), notary_of(RELEASE)
    sign(repository, wanted, ours)
    sign_keyless(repository, wanted, notary)
    found = verified(repository, wanted, [ours.public], identities=[RELEASE], service=notary)
    assert {one.key for one in found} == {"ours.pub", RELEASE.subject}


def test_a_huge_bundle_is_not_looked_at(notary_of: Call) -> None:
    annotations = {BUNDLE: "x" * (keyless.LARGEST + 1), SIGNATURE: "AAAA"}
    assert keyless.vouched_for(b"x", annotations, [RELEASE], notary_of(RELEASE)) is None


def test_nonsense_is_vouched_for_by_nobody() -> None:
    if importlib.util.find_spec("sigstore") is None:
        with pytest.raises(ConfigError, match="the package sigstore is not installed") as caught:
            Sigstore().vouches(b"x", "{}", RELEASE)
        assert "modeldeploy[keyless]" in (caught.value.hint or "")
    else:
        assert not Sigstore().vouches(b"x", "{}", RELEASE)
