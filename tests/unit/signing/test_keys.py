import base64
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from modeldeploy.errors import ConfigError
from modeldeploy.signing import keyfile, keys, signers
from modeldeploy.signing.keys import PublicKey
from signing_place import PASSWORD, RECORDED


def never() -> bytes:
    raise AssertionError("no password is needed")


def private_pem(key: object, password: bytes | None = None) -> bytes:
    how = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)  # type: ignore[attr-defined,no-any-return]  # any kind of key


def test_a_pair_is_made_that_signs_and_verifies(tmp_path: Path) -> None:
    pair = keys.generate(tmp_path, b"hunter2")
    signer = signers.open_signer("cosign.key", tmp_path, password=lambda: b"hunter2")
    (public,) = keys.public_keys([str(pair.public)])
    assert signer.public == PublicKey("cosign.key", pair.fingerprint, public.pem, None)
    assert public.verifies(signer.sign(b"content"), b"content")
    assert not public.verifies(signer.sign(b"content"), b"other")
    assert pair.private.read_text().startswith("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")


def test_a_private_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        pair = keys.generate(tmp_path, b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    assert stat.S_IMODE(pair.public.stat().st_mode) == 0o644


@pytest.mark.parametrize("name", ["cosign.key", "cosign.pub"])
def test_a_key_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(ConfigError, match="is there already"):
        keys.generate(tmp_path, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "cosign.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is there already"):
        keys.generate(tmp_path, b"x")
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_that_cosign_made_opens_with_its_password() -> None:
    signer = signers.open_signer("cosign.key", RECORDED, password=lambda: PASSWORD)
    (public,) = keys.public_keys([str(RECORDED / "cosign.pub")])
    assert signer.public.fingerprint == public.fingerprint
    assert public.verifies(signer.sign(b"content"), b"content")


def test_a_wrong_password_is_told_and_shows_nothing() -> None:
    with pytest.raises(ConfigError, match=r"the password does not open the key cosign\.key") as caught:
        signers.open_signer("cosign.key", RECORDED, password=lambda: b"hunter2")
    assert "hunter2" not in f"{caught.value!r}{caught.value.hint}{caught.value.details}"


def test_without_a_password_it_says_which_variable_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="has a password") as caught:
        signers.open_signer("cosign.key", RECORDED)
    assert caught.value.hint == "export COSIGN_PASSWORD=..."
    monkeypatch.setenv("COSIGN_PASSWORD", PASSWORD.decode())
    assert signers.open_signer("cosign.key", RECORDED).sign(b"x")


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-256", "P-384", "Ed25519", "RSA"],
)
@pytest.mark.parametrize("password", [None, b"hunter2"])
def test_keys_of_others_sign_too(tmp_path: Path, key: object, password: bytes | None) -> None:
    (tmp_path / "own.pem").write_bytes(private_pem(key, password))
    signer = signers.open_signer("own.pem", tmp_path, password=(lambda: b"hunter2") if password else never)
    assert signer.public.verifies(signer.sign(b"content"), b"content")
    assert not signer.public.verifies(signer.sign(b"content"), b"content ")
    assert not signer.public.verifies(b"\0" * 70, b"content")


def test_a_key_in_a_variable_or_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = private_pem(ec.generate_private_key(ec.SECP256R1())).decode()
    monkeypatch.setenv("SIGNING_KEY", key)
    (tmp_path / "key.pem").write_text(key)
    one = signers.open_signer("env://SIGNING_KEY", tmp_path)
    other = signers.open_signer("secret:env:SIGNING_KEY", tmp_path)
    third = signers.open_signer("secret:file:key.pem", tmp_path)
    assert one.public.fingerprint == other.public.fingerprint == third.public.fingerprint
    monkeypatch.delenv("SIGNING_KEY")
    with pytest.raises(ConfigError, match="SIGNING_KEY is not set"):
        signers.open_signer("env://SIGNING_KEY", tmp_path)


def block(value: object, label: str = keyfile.LABEL) -> bytes:
    body = base64.b64encode(json.dumps(value).encode()).decode()
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


def form(**params: object) -> dict[str, object]:
    salt = base64.b64encode(b"0" * 32).decode()
    return {
        "kdf": {"name": "scrypt", "params": {"N": 2, "r": 8, "p": 1} | params, "salt": salt},
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(b"0" * 24).decode()},
        "ciphertext": salt,
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no key",
        b"-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"\x00\xff" * 100,
        b"x" * 100_000,
        block([]),
        block({}),
        block({**form(), "kdf": 5}),
        block({**form(), "ciphertext": "%%%"}),
        block({**form(), "cipher": {"name": "rot13", "nonce": ""}}),
        # Parameters of scrypt that would take all the memory, or that are none.
        block(form(N=2**40)),
        block(form(r=2**30)),
        block(form(p=10**6)),
        block(form(N=3)),
        block(form(N=True)),
        block(form(N="65536")),
    ],
)
def test_what_is_no_private_key_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match="k is not a private key"):
        keyfile.read(content, "k", never)


def test_a_block_of_nonsense_does_not_open() -> None:
    for value in (form(), {**form(), "cipher": {"name": "nacl/secretbox", "nonce": "AAAA"}}):
        with pytest.raises(ConfigError, match="the password does not open"):
            keyfile.read(block(value), "k", lambda: b"x")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not a public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a public key"),
        (b"\xff" * 200_000, "not a public key"),
        (private_pem(ed25519.Ed25519PrivateKey.generate()), "a private key"),
    ],
)
def test_what_is_no_public_key_is_refused(content: bytes, told: str) -> None:
    with pytest.raises(ConfigError, match=f"^k is {told}; expected a public key as PEM"):
        PublicKey.from_pem(content, "k")


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 1024), dsa.generate_private_key(2048)], ids=["RSA-1024", "DSA"]
)
def test_weak_and_odd_keys_are_refused(key: rsa.RSAPrivateKey | dsa.DSAPrivateKey) -> None:
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ConfigError, match="of a kind that is not used"):
        PublicKey.from_pem(pem, "k")


def test_a_key_that_is_not_there_is_told_with_the_way_to_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no key") as caught:
        signers.open_signer("cosign.key", tmp_path)
    assert caught.value.hint == "make one: mdeploy keygen"
    with pytest.raises(ConfigError, match="cannot read the key"):
        keys.public_keys([str(tmp_path / "cosign.pub")])


def test_a_service_that_nobody_brings_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no package signs by 'acme://'"):
        signers.open_signer("acme://team/key", tmp_path)


def test_no_key_shows_itself(tmp_path: Path) -> None:
    signer = signers.open_signer("cosign.key", RECORDED, password=lambda: PASSWORD)
    assert "PRIVATE" not in repr(signer)
    assert repr(signer).startswith("LocalSigner(public=PublicKey(name='cosign.key', fingerprint='sha256:")
