"""Signing without a key: by the identity that a CI job has for some minutes (extra ``keyless``).

Sigstore's Fulcio gives a certificate for a one-time key to whoever shows an OIDC token, and Rekor writes the
signature into a public log. Both are asked when something is signed, none when it is verified.

The signature is kept where the others are; what is needed to verify it is a Sigstore bundle beside it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modeldeploy.config.settings import Identity
from modeldeploy.errors import ConfigError, ModelDeployError

BUNDLE = "dev.sigstore.bundle"
"""Annotation that holds the Sigstore bundle, as JSON."""
CERTIFICATE = "dev.sigstore.cosign/certificate"
LARGEST = 256_000
"""Characters of a bundle; one has some ten thousand."""
_INSTALL = "install it with mdeploy: pip install 'modeldeploy[keyless]'"


@dataclass(frozen=True, slots=True)
class Vouched:
    """A signature that Sigstore has vouched for."""

    signature: bytes
    certificate: str
    """PEM."""
    bundle: str
    """The whole Sigstore bundle, as JSON."""

    def annotations(self, signature_name: str) -> dict[str, str]:
        """How it is kept beside the payload."""
        return {
            signature_name: base64.b64encode(self.signature).decode(),
            CERTIFICATE: self.certificate,
            BUNDLE: self.bundle,
        }


class IdentityService(Protocol):
    """Who vouches for identities. Raises `ModelDeployError` only."""

    def sign(self, content: bytes) -> Vouched:
        """Sign as who this process is."""
        ...

    def vouches(self, content: bytes, bundle: str, identity: Identity) -> bool:
        """True if this identity has signed exactly this content."""
        ...


class Sigstore:
    """The public instance of Sigstore."""

    def sign(self, content: bytes) -> Vouched:
        try:
            bundle = _signed(content)
        except ModelDeployError:
            raise
        except Exception as error:
            raise ConfigError(
                f"Sigstore did not sign: {type(error).__name__}: {error}",
                hint="run the same command again, or sign with a key: mdeploy keygen",
            ) from error
        return Vouched(bundle.signature, _pem(bundle.signing_certificate), bundle.to_json())

    def vouches(self, content: bytes, bundle: str, identity: Identity) -> bool:
        models, verify = _modules("models", "verify")
        policy = verify.policy.Identity(identity=identity.subject, issuer=identity.issuer)
        try:
            verifier = verify.Verifier.production(offline=True)
            verifier.verify_artifact(content, models.Bundle.from_json(bundle), policy)
        except Exception:  # noqa: BLE001 - whatever it does not like about a bundle from a registry
            return False
        return True


def vouched_for(
    content: bytes,
    annotations: Mapping[str, str],
    identities: Sequence[Identity],
    service: IdentityService | None = None,
) -> Identity | None:
    """Which of these identities has signed this content without a key; None if none has."""
    bundle = annotations.get(BUNDLE, "")
    if not bundle or len(bundle) > LARGEST:
        return None
    asked = service or Sigstore()
    return next((one for one in identities if asked.vouches(content, bundle, one)), None)


def fingerprint(certificate: str) -> str:
    """``sha256:`` of the public key in a certificate (PEM)."""
    from cryptography import x509

    from modeldeploy.signing.keys import PublicKey

    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    return PublicKey.of(key, "certificate").fingerprint


def _signed(content: bytes) -> Any:
    oidc, sign, models = _modules("oidc", "sign", "models")
    token = oidc.detect_credential()
    if token is None:
        raise ConfigError(
            "nobody vouches for who this is: there is no OIDC token here",
            hint="in GitHub Actions, give the job: permissions: id-token: write",
        )
    context = sign.SigningContext.from_trust_config(models.ClientTrustConfig.production())
    with context.signer(oidc.IdentityToken(token)) as signer:
        return signer.sign_artifact(content)


def _modules(*names: str) -> list[Any]:
    import importlib

    try:
        return [importlib.import_module(f"sigstore.{name}") for name in names]
    except ImportError:
        raise ConfigError("the package sigstore is not installed", hint=_INSTALL) from None


def _pem(certificate: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    pem: bytes = certificate.public_bytes(Encoding.PEM)
    return pem.decode()
