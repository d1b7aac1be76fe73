import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from modeldeploy.errors import RegistryRefused
from modeldeploy.oci.descriptor import Descriptor
from modeldeploy.registry.base import Repository
from modeldeploy.registry.folder import FolderRegistry
from modeldeploy.signing import keys, payload
from modeldeploy.signing.attached import MOST, tag_of
from modeldeploy.signing.signers import LocalSigner
from modeldeploy.signing.verifying import SIGNATURE, SIMPLE_SIGNING, judge, sign, verified
from signing_place import RECORDED, put, put_manifest, signer, something, what_cosign_wrote

CLAIMS = {"version": "1.0.0", "bundle": "sha256:" + "a" * 64}


def attach(
    repository: Repository,
    to: Descriptor,
    content: bytes,
    signature: str,
    *,
    media_type: str = SIMPLE_SIGNING,
) -> None:
    """What somebody who may write to the registry can do."""
    blob = put(repository, content, media_type)
    layer = Descriptor(media_type, blob.digest, blob.size, {SIGNATURE: signature})
    put_manifest(repository, [layer], tag_of(to.digest, ".sig"))


def signed_by(signer: LocalSigner, content: bytes) -> str:
    return base64.b64encode(signer.sign(content)).decode()


def said(digest: str, *, identity: str = "digits", **more: Any) -> bytes:
    critical = {
        "identity": {"docker-reference": identity},
        "image": {"docker-manifest-digest": digest},
        "type": payload.TYPE,
    }
    return json.dumps({"critical": critical | more, "optional": None}).encode()


def test_what_one_signs_the_other_verifies(repository: Repository, ours: LocalSigner) -> None:
    wanted = something(repository)
    assert sign(repository, wanted, ours, claims=CLAIMS).new
    (one,) = verified(repository, wanted, [ours.public], claims=CLAIMS)
    assert (one.key, one.fingerprint) == ("ours.pub", ours.public.fingerprint)
    assert (one.identity, one.claims) == ("digits", CLAIMS)


def test_nobody_has_signed_what_is_not_signed(repository: Repository, ours: LocalSigner) -> None:
    assert judge(repository, something(repository), [ours.public]).verified == ()
    assert judge(repository, something(repository), [ours.public]).rejected == ()


def test_signing_twice_changes_nothing(repository: Repository, ours: LocalSigner) -> None:
    wanted = something(repository)
    sign(repository, wanted, ours, claims=CLAIMS)
    before = repository.tag(tag_of(wanted.digest, ".sig"))
    assert not sign(repository, wanted, ours, claims=CLAIMS).new
    assert repository.tag(tag_of(wanted.digest, ".sig")) == before
    assert sign(repository, wanted, ours, claims={"version": "1.0.0"}).new


def test_any_of_the_keys_will_do_and_it_is_told_which(
    repository: Repository, ours: LocalSigner, theirs: LocalSigner
) -> None:
    wanted = something(repository)
    sign(repository, wanted, theirs)
    sign(repository, wanted, ours)
    both = [ours.public, theirs.public]
    assert {one.key for one in verified(repository, wanted, both)} == {"ours.pub", "theirs.pub"}
    judged = judge(repository, wanted, [theirs.public])
    assert [one.key for one in judged.verified] == ["theirs.pub"]
    assert judged.rejected == ("a signature was made by none of theirs.pub",)


def test_those_who_sign_at_once_lose_nothing(tmp_path: Path, repository: Repository) -> None:
    wanted = something(repository)
    all_of_them = [signer(f"{number}.pub") for number in range(6)]

    def work(one: LocalSigner) -> None:
        sign(FolderRegistry(tmp_path / "registry").repository("digits"), wanted, one)

    threads = [threading.Thread(target=work, args=(one,)) for one in all_of_them]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = verified(repository, wanted, [one.public for one in all_of_them])
    assert len(found) == len(all_of_them)


def test_verifies_what_cosign_signed(repository: Repository) -> None:
    wanted = what_cosign_wrote(repository)
    (public,) = keys.public_keys([str(RECORDED / "cosign.pub")])
    (one,) = verified(repository, wanted, [public], claims={"version": "1.0.0"})
    assert one.identity == "127.0.0.1:5731/digits"
    assert one.claims == {"version": "1.0.0"}


def test_what_is_written_has_the_form_that_cosign_writes(repository: Repository, ours: LocalSigner) -> None:
    wanted = something(repository)
    sign(repository, wanted, ours, claims={"version": "1.0.0"})
    found = repository.tag(tag_of(wanted.digest, ".sig"))
    assert found
    own = json.loads(repository.manifest(found.digest))
    recorded = json.loads((RECORDED / "signatures.json").read_bytes())
    assert form(own) == form(recorded)
    with repository.open_blob(Descriptor.from_json(own["layers"][0])) as stream:
        content = json.loads(stream.read())
    assert form(content) == form(json.loads((RECORDED / "signatures-layer.json").read_bytes()))
    with repository.open_blob(Descriptor.from_json(own["config"])) as stream:
        config = json.loads(stream.read())
    assert form(config) == form(json.loads((RECORDED / "signatures-config.json").read_bytes()))


def form(value: Any) -> Any:
    """The same, with digests, sizes, times and signatures left out."""
    if isinstance(value, dict):
        return {key: form(item) for key, item in value.items()}
    return [form(item) for item in value] if isinstance(value, list) else type(value).__name__


# What somebody can try who may write to the registry, but has none of the keys.


def test_a_signature_of_another_manifest_does_not_count(repository: Repository, ours: LocalSigner) -> None:
    good, evil = something(repository, "1.0.0"), something(repository, "evil")
    sign(repository, good, ours)
    moved = repository.tag(tag_of(good.digest, ".sig"))
    assert moved
    repository.set_tag(tag_of(evil.digest, ".sig"), moved, was=None)
    judged = judge(repository, evil, [ours.public])
    assert judged.verified == ()
    assert judged.rejected == (
        f"ours.pub signed something else: it is of {good.digest[:19]}, not of {evil.digest[:19]}",
    )


def test_a_signature_does_not_count_for_another_version(repository: Repository, ours: LocalSigner) -> None:
    wanted = something(repository)
    sign(repository, wanted, ours, claims={"version": "1.0.0"})
    judged = judge(repository, wanted, [ours.public], claims={"version": "2.0.0"})
    assert judged.verified == ()
    assert judged.rejected == ("ours.pub signed something else: it says version '1.0.0', not '2.0.0'",)


def test_a_signature_does_not_count_in_a_repository_of_another_name(
    tmp_path: Path, repository: Repository, ours: LocalSigner
) -> None:
    wanted = something(repository)
    sign(repository, wanted, ours)
    other = FolderRegistry(tmp_path / "registry").repository("fraud")
    assert something(other) == wanted
    attach(other, wanted, *first_signature(repository, wanted))
    judged = judge(other, wanted, [ours.public])
    assert judged.verified == ()
    assert "for the repository 'digits', not for 'fraud'" in judged.rejected[0]


def test_a_signature_stays_true_where_the_repository_is_copied_to(
    tmp_path: Path, repository: Repository, ours: LocalSigner
) -> None:
    wanted = something(repository)
    sign(repository, wanted, ours)
    copy = FolderRegistry(tmp_path / "elsewhere").repository("team/digits")
    assert something(copy) == wanted
    attach(copy, wanted, *first_signature(repository, wanted))
    assert verified(copy, wanted, [ours.public])


def first_signature(repository: Repository, of: Descriptor) -> tuple[bytes, str]:
    found = repository.tag(tag_of(of.digest, ".sig"))
    assert found
    layer = Descriptor.from_json(json.loads(repository.manifest(found.digest))["layers"][0])
    with repository.open_blob(layer) as stream:
        return stream.read(), layer.annotations[SIGNATURE]


def test_a_changed_payload_does_not_count(repository: Repository, ours: LocalSigner) -> None:
    wanted = something(repository)
    sign(repository, wanted, ours)
    content, signature = first_signature(repository, wanted)
    attach(repository, wanted, content.replace(b"digits", b"digit5"), signature)
    judged = judge(repository, wanted, [ours.public])
    assert (judged.verified, judged.rejected) == ((), ("a signature was made by none of ours.pub",))


@pytest.mark.parametrize("signature", ["", "!!!", "AAAA", "é" * 8, "AAAA" * 5000, "MEUCIQ==", " ", "A"])
def test_garbage_is_no_signature(repository: Repository, ours: LocalSigner, signature: str) -> None:
    wanted = something(repository)
    attach(repository, wanted, said(wanted.digest), signature)
    judged = judge(repository, wanted, [ours.public])
    assert judged.verified == ()
    assert len(judged.rejected) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 30_000,
        b'{"critical":[]}',
        b'{"critical":{"image":{"docker-manifest-digest":5},"identity":{},"type":"x"}}',
        b'{"critical":{},"critical":{}}',
    ],
)
def test_nonsense_does_not_count_even_if_signed(
    repository: Repository, ours: LocalSigner, content: bytes
) -> None:
    wanted = something(repository)
    attach(repository, wanted, content, signed_by(ours, content))
    judged = judge(repository, wanted, [ours.public])
    assert judged.verified == ()
    assert "cannot be read" in judged.rejected[0]


def test_a_payload_of_another_type_does_not_count(repository: Repository, ours: LocalSigner) -> None:
    wanted = something(repository)
    content = said(wanted.digest, type="a grocery list")
    attach(repository, wanted, content, signed_by(ours, content))
    assert verified(repository, wanted, [ours.public]) == ()


@pytest.mark.parametrize(
    "identity",
    [
        *("dig\u0456ts", "digits\u200b", "\ufb01gits", "evil/digit\u0455"),
        *("DIGITS", "digits ", "x/digits/", "digits\0", ""),
    ],
)
def test_a_name_that_only_looks_like_ours_does_not_count(
    repository: Repository, ours: LocalSigner, identity: str
) -> None:
    wanted = something(repository)
    content = said(wanted.digest, identity=identity)
    attach(repository, wanted, content, signed_by(ours, content))
    assert verified(repository, wanted, [ours.public]) == ()


@pytest.mark.parametrize("identity", ["host:5000/team/digits", "digits:1.0.0", "h/digits@sha256:" + "0" * 64])
def test_a_name_may_have_a_host_a_tag_or_a_digest(
    repository: Repository, ours: LocalSigner, identity: str
) -> None:
    wanted = something(repository)
    content = said(wanted.digest, identity=identity)
    attach(repository, wanted, content, signed_by(ours, content))
    assert verified(repository, wanted, [ours.public])


@pytest.mark.parametrize("digest", ["SHA256:{0}", "sha256:{0} ", "sha512:{0}", "sha256:{1}"])
def test_a_digest_that_only_looks_like_ours_does_not_count(
    repository: Repository, ours: LocalSigner, digest: str
) -> None:
    wanted = something(repository)
    digits = wanted.digest.removeprefix("sha256:")
    content = said(digest.format(digits, digits.upper()))
    attach(repository, wanted, content, signed_by(ours, content))
    assert verified(repository, wanted, [ours.public]) == ()


def test_a_tag_that_points_to_something_else_is_told_and_left_alone(
    repository: Repository, ours: LocalSigner
) -> None:
    wanted = something(repository)
    tag = tag_of(wanted.digest, ".sig")
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
    )
    other = repository.put_manifest(index.encode(), "application/vnd.oci.image.index.v1+json")
    repository.set_tag(tag, other, was=None)
    judged = judge(repository, wanted, [ours.public])
    assert judged.verified == ()
    assert "no signatures can be read" in judged.rejected[0]
    with pytest.raises(RegistryRefused, match="holds no signatures, and is left as it is"):
        sign(repository, wanted, ours)
    assert repository.tag(tag) == other


def test_a_tag_that_points_to_the_bundle_itself_says_nothing(
    repository: Repository, ours: LocalSigner
) -> None:
    wanted = something(repository)
    repository.set_tag(tag_of(wanted.digest, ".sig"), wanted, was=None)
    assert judge(repository, wanted, [ours.public]) == judge(repository, something(repository, "x"), [])


def test_layers_of_other_types_are_left_out(repository: Repository, ours: LocalSigner) -> None:
    wanted = something(repository)
    content = said(wanted.digest)
    attach(repository, wanted, content, signed_by(ours, content), media_type="text/plain")
    assert verified(repository, wanted, [ours.public]) == ()


def test_a_huge_payload_is_not_read(repository: Repository, ours: LocalSigner) -> None:
    wanted = something(repository)
    content = said(wanted.digest) + b" " * payload.LARGEST
    attach(repository, wanted, content, signed_by(ours, content))
    assert verified(repository, wanted, [ours.public]) == ()


def test_a_payload_that_is_gone_is_no_signature(
    repository: Repository, ours: LocalSigner, tmp_path: Path
) -> None:
    wanted = something(repository)
    sign(repository, wanted, ours)
    content, _ = first_signature(repository, wanted)
    blob = Descriptor.of(content, SIMPLE_SIGNING).digest.removeprefix("sha256:")
    (path,) = tmp_path.rglob(f"blobs/sha256/{blob}")
    path.unlink()
    assert verified(repository, wanted, [ours.public]) == ()


def test_of_thousands_of_signatures_the_newest_are_looked_at(
    repository: Repository, ours: LocalSigner
) -> None:
    wanted = something(repository)
    blob = put(repository, said(wanted.digest), SIMPLE_SIGNING)
    flood = [Descriptor(SIMPLE_SIGNING, blob.digest, blob.size, {SIGNATURE: "AAAA"})] * (MOST * 2)
    put_manifest(repository, flood, tag_of(wanted.digest, ".sig"))
    sign(repository, wanted, ours)
    assert verified(repository, wanted, [ours.public])
