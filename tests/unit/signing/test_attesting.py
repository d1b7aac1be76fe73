import base64
import json
from typing import Any

import pytest

from modeldeploy.errors import RegistryRefused
from modeldeploy.image.provenance import PREDICATE as SLSA
from modeldeploy.image.sbom import PREDICATE as CYCLONEDX
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.registry.base import Repository
from modeldeploy.signing import keys
from modeldeploy.signing.attached import tag_of
from modeldeploy.signing.attesting import ENVELOPE, IN_TOTO, attest, attestations
from modeldeploy.signing.signers import LocalSigner
from signing_place import RECORDED, put, put_manifest, something, what_cosign_wrote

BOM = {"bomFormat": "CycloneDX", "components": [{"name": "numpy", "description": "Größe"}]}


def test_a_statement_comes_back(repository: Repository, ours: LocalSigner) -> None:
    about = something(repository)
    assert attest(repository, about, CYCLONEDX, BOM, ours)
    assert attest(repository, about, SLSA, {"runDetails": {}}, ours)
    (one,) = attestations(repository, about, [ours.public], CYCLONEDX)
    assert (one.predicate, one.key) == (BOM, "ours.pub")
    assert {one.predicate_type for one in attestations(repository, about, [ours.public])} == {CYCLONEDX, SLSA}


def test_the_same_statement_is_kept_once_and_a_new_one_takes_its_place(
    repository: Repository, ours: LocalSigner, theirs: LocalSigner
) -> None:
    about = something(repository)
    attest(repository, about, CYCLONEDX, BOM, ours)
    attest(repository, about, CYCLONEDX, BOM, theirs)
    assert not attest(repository, about, CYCLONEDX, BOM, ours)
    assert attest(repository, about, CYCLONEDX, {"bomFormat": "CycloneDX"}, ours)
    found = attestations(repository, about, [ours.public, theirs.public])
    assert [(one.key, one.predicate) for one in found] == [
        ("ours.pub", {"bomFormat": "CycloneDX"}),
        ("theirs.pub", BOM),
    ]


def test_verifies_what_cosign_attested(repository: Repository) -> None:
    about = what_cosign_wrote(repository)
    (one,) = attestations(repository, about, keys.public_keys([str(RECORDED / "cosign.pub")]))
    assert (one.predicate_type, one.predicate) == ("https://example.com/x", {"hello": 1})


def test_what_is_written_has_the_form_that_cosign_writes(repository: Repository, ours: LocalSigner) -> None:
    about = something(repository)
    attest(repository, about, "https://example.com/x", {"hello": 1}, ours)
    found = repository.tag(tag_of(about.digest, ".att"))
    assert found
    own = json.loads(repository.manifest(found.digest))["layers"][0]
    recorded = json.loads((RECORDED / "attestations.json").read_bytes())["layers"][0]
    assert own["annotations"] == recorded["annotations"]
    with repository.open_blob(Descriptor.from_json(own)) as stream:
        envelope = json.loads(stream.read())
    theirs = json.loads((RECORDED / "attestations-layer.json").read_bytes())
    assert envelope.keys() == theirs.keys()
    statement, other = (json.loads(base64.b64decode(one["payload"])) for one in (envelope, theirs))
    assert {**statement, "subject": 0} == {**other, "subject": 0}
    assert statement["subject"] == [{"name": "digits", "digest": {"sha256": about.digest[7:]}}]


def pretend(repository: Repository, about: Descriptor, envelope: object) -> None:
    content = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    layer = put(repository, content, ENVELOPE)
    put_manifest(repository, [layer], tag_of(about.digest, ".att"))


def envelope(signer: LocalSigner, statement: Any, *, kind: str = IN_TOTO, encode: bool = True) -> Any:
    body = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(body), body) if encode else body
    return {
        "payloadType": kind,
        "payload": base64.b64encode(body).decode(),
        "signatures": [{"sig": base64.b64encode(signer.sign(signed)).decode()}],
    }


def statement(about: Descriptor, **more: Any) -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": SLSA,
        "subject": [{"digest": {"sha256": about.digest[7:]}}],
        "predicate": {},
    } | more


def test_a_statement_of_the_other_version_counts_too(repository: Repository, ours: LocalSigner) -> None:
    about = something(repository)
    pretend(repository, about, envelope(ours, statement(about)))
    assert attestations(repository, about, [ours.public])


def test_a_statement_by_nobody_known_does_not_count(
    repository: Repository, ours: LocalSigner, theirs: LocalSigner
) -> None:
    about = something(repository)
    pretend(repository, about, envelope(theirs, statement(about)))
    assert attestations(repository, about, [ours.public]) == ()


def test_a_statement_about_something_else_does_not_count(repository: Repository, ours: LocalSigner) -> None:
    good, evil = something(repository, "1.0.0"), something(repository, "evil")
    pretend(repository, evil, envelope(ours, statement(good)))
    assert attestations(repository, evil, [ours.public]) == ()


def test_bytes_that_were_signed_as_something_else_do_not_count(
    repository: Repository, ours: LocalSigner
) -> None:
    about = something(repository)
    for odd in (
        envelope(ours, statement(about), encode=False),
        envelope(ours, statement(about), kind="text/plain"),
        {**envelope(ours, statement(about), kind="text/plain"), "payloadType": IN_TOTO},
        envelope(ours, statement(about, _type="https://example.com/")),
        envelope(ours, statement(about, predicate=5)),
        envelope(ours, statement(about, predicateType=5)),
        envelope(ours, statement(about, subject=[])),
        envelope(ours, statement(about, subject={"digest": 5})),
        envelope(ours, b"[]"),
        envelope(ours, b"{"),
    ):
        pretend(repository, about, odd)
        assert attestations(repository, about, [ours.public]) == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        {},
        {"payload": 5, "signatures": []},
        {"payload": "!", "signatures": []},
        {"payload": "", "payloadType": IN_TOTO, "signatures": "x"},
        {"payload": "", "payloadType": IN_TOTO, "signatures": [{"sig": 5}]},
        {"payload": "", "payloadType": IN_TOTO, "signatures": {"a": 1}},
    ],
)
def test_nonsense_is_no_statement(repository: Repository, ours: LocalSigner, content: object) -> None:
    about = something(repository)
    pretend(repository, about, content)
    assert attestations(repository, about, [ours.public]) == ()


def test_a_tag_that_points_to_something_else_is_left_alone(repository: Repository, ours: LocalSigner) -> None:
    about = something(repository)
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
    )
    other = repository.put_manifest(index.encode(), "application/vnd.oci.image.index.v1+json")
    repository.set_tag(tag_of(about.digest, ".att"), other, was=None)
    assert attestations(repository, about, [ours.public]) == ()
    with pytest.raises(RegistryRefused, match="holds no attestations, and is left as it is"):
        attest(repository, about, CYCLONEDX, BOM, ours)
