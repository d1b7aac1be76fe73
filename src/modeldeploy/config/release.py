"""The tables about what becomes of a bundle: images, the registry, signatures, policies, scans.

The same words as in `schema`, which puts the whole file together.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modeldeploy.config.forms import (
    AnyPath,
    Base,
    Command,
    HttpAddress,
    Ignored,
    KeyReference,
    Package,
    Platforms,
    PublicKey,
    RegistryUrl,
    Require,
    SecretReference,
    Text,
    Trusted,
    UserName,
)
from modeldeploy.config.places import DEBIAN
from modeldeploy.config.table import Table
from modeldeploy.config.values import Duration, Name


class ImageTable(Table):
    """How the bundle becomes an image: by mdeploy itself, without a daemon, unless you name an engine."""

    base: Base = Field(
        default=DEBIAN,
        description="What the image stands on: `debian` is a small base that mdeploy makes from Debian "
        "packages; otherwise an image by its digest, or an OCI layout in a folder.",
        examples=[DEBIAN, "registry.example.com/base@sha256:" + "0" * 64, "oci:base"],
    )
    packages: Annotated[tuple[Package, ...], Field(strict=False)] = Field(
        default=(),
        description='Debian packages that the model needs beside Python; for `base = "debian"` or an engine.',
        examples=[["libgomp1"]],
    )
    platforms: Platforms | None = Field(
        default=None,
        description="Platforms to make the image for; without it, the first of `build.platforms`.",
        examples=[["linux/amd64", "linux/arm64"]],
    )
    engine: Literal["none", "docker", "podman", "buildah"] = Field(
        default="none",
        description="Who makes the image: `none` for mdeploy itself, which needs no daemon and gives the "
        "same digest anywhere; an engine, where `run` has steps.",
        examples=["none"],
    )
    run: Annotated[tuple[Command, ...], Field(strict=False)] = Field(
        default=(),
        description="Commands to run while an engine makes the image.",
        examples=[["ldconfig"]],
    )
    user: int = Field(
        default=65532,
        ge=1,
        le=2**31 - 1,
        description="Numeric user that the service runs as in the image; never root.",
        examples=[65532],
    )


class RegistryTable(Table):
    """Where bundles and images are kept for other machines. Without it, a folder of mdeploy's home."""

    url: RegistryUrl | None = Field(
        default=None,
        description="Folder, bucket or OCI registry. A path is absolute or relative to the project's folder.",
        examples=["./registry", "s3://models/team", "https://registry.example.com/team"],
    )
    ca: AnyPath | None = Field(
        default=None,
        description="Certificate authority of a registry with a private one, as a PEM file.",
        examples=["ca.pem"],
    )
    username: UserName | None = Field(
        default=None,
        description="User of the registry. Without one, Docker's configuration and its credential helpers "
        "are asked.",
        examples=["ci", "secret:env:REGISTRY_USER"],
    )
    password: SecretReference | None = Field(
        default=None,
        description="That user's password or token, by reference: "
        "[how secrets are kept out](../how-to/keep-secrets-out.md).",
        examples=["secret:env:REGISTRY_TOKEN"],
    )
    profile: Text | None = Field(
        default=None, description="S3: the profile of the AWS configuration.", examples=["models"]
    )
    region: Text | None = Field(default=None, description="S3: the region.", examples=["eu-central-1"])
    endpoint: HttpAddress | None = Field(
        default=None,
        description="S3: the address of a server that is not AWS.",
        examples=["https://s3.example.com"],
    )


class IdentityTable(Table):
    """Who may have signed without a key: what the certificate must say."""

    subject: Text = Field(
        description="Subject of the certificate: a workflow's address, or an e-mail address.",
        examples=["https://github.com/acme/digits/.github/workflows/release.yml@refs/heads/main"],
    )
    issuer: Text = Field(
        description="Who vouched for it.", examples=["https://token.actions.githubusercontent.com"]
    )


class SigningTable(Table):
    """Who signs bundles and images, and whose signatures count."""

    key: KeyReference | None = Field(
        default=None,
        description="The private key that `mdeploy sign` uses, in cosign's form or as PEM; `keyless` for the "
        "identity that the CI gives. A password is read from COSIGN_PASSWORD, or asked for.",
        examples=["cosign.key", "env://COSIGN_PRIVATE_KEY", "secret:keyring:cosign/ci", "keyless"],
    )
    public_keys: Annotated[tuple[PublicKey, ...], Field(strict=False)] = Field(
        default=(),
        description="Public keys whose signatures count. They are no secrets: keep them with the project.",
        examples=[["cosign.pub"]],
    )
    identities: Annotated[tuple[IdentityTable, ...], Field(strict=False)] = Field(
        default=(),
        description="Identities whose keyless signatures count; needs the extra `keyless`.",
        examples=[
            [
                {
                    "subject": "https://github.com/acme/digits/.github/workflows/release.yml@refs/heads/main",
                    "issuer": "https://token.actions.githubusercontent.com",
                }
            ]
        ],
    )


class PolicyTable(Table):
    """What a bundle must have behind it before it may go to this target, by `promote` and by `deploy`."""

    sources: Annotated[tuple[Name, ...], Field(strict=False)] = Field(
        default=(),
        alias="from",
        description="It must be what one of these targets runs as stable.",
        examples=[["staging"]],
    )
    require: Require = Field(
        default=(),
        description="`test`: `mdeploy test` has passed; `golden`: the bundle has golden samples; `signed`: "
        "by one of `signing.public_keys` or `signing.identities`; `scanned`: `mdeploy scan` found nothing; "
        "`approved:N`: N people have said so by `mdeploy approve`.",
        examples=[["test", "golden", "signed", "approved:2"]],
    )
    min_age: Duration | None = Field(
        default=None,
        description="How long it must have been stable on a target of `from`.",
        examples=["1h"],
    )


class ScanTable(Table):
    """How `mdeploy scan` looks for known vulnerabilities in the locked packages."""

    database: AnyPath | None = Field(
        default=None,
        description="Vulnerability database on this disk, for machines without a network. Without it, the "
        "advisories of the package index are asked.",
        examples=["osv"],
    )
    ignore: Ignored = Field(
        default_factory=dict,
        description="Vulnerabilities that were looked at and do not matter here, each with the reason.",
        examples=[{"CVE-2024-12345": "only in the command line tool, which is not served"}],
    )
    trust: Trusted = Field(
        default_factory=dict,
        description="Files of the project that run code when they are loaded, such as pickles, and that you "
        "trust, each with the reason: `mdeploy build` then takes them as they are.",
        examples=[{"model.pkl": "made by our own training job"}],
    )
