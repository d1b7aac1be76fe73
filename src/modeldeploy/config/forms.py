"""The forms of values in the tables about images, registries, signatures, policies and scans.

The same rules as in `values`: what a check refuses, it refuses in words that reach the user as they are.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, WithJsonSchema

from modeldeploy.config import names, places, secrets
from modeldeploy.config.values import (
    LONGEST_PATH,
    InsidePath,
    once,
    refuse,
    secret_reference,
    text_of,
    worded,
)


def _any_path(value: str) -> str:
    if not value.strip() or not value.isprintable() or len(value) > LONGEST_PATH:
        refuse("not a path")
    if value.startswith("~"):
        refuse("~ is not a folder here; write the path in full, or relative to the project's folder")
    if "\\" in value:
        refuse("a backslash does not separate folders here", nearest=value.replace("\\", "/"))
    return value


def _plain(value: str) -> str:
    if not value.strip() or not value.isprintable() or len(value) > LONGEST_PATH:
        refuse("not text in one line")
    return value


def _registry(value: str) -> str:
    reason = places.not_a_registry(value)
    if reason:
        refuse(reason, nearest=places.nearest_registry(value))
    return value


def _http(value: str) -> str:
    reason = places.not_an_address(value)
    if reason:
        refuse(reason)
    return value


def _base(value: str) -> str:
    if value.count("/") and "@" not in value and not value.startswith("oci:"):
        refuse("a tag may mean another image tomorrow; name the image by its digest, HOST/NAME@sha256:...")
    if not places.is_base(value):
        refuse("not a base for an image", nearest=names.closest(value, [places.DEBIAN]))
    return value


def _key(value: str) -> str:
    if "PRIVATE KEY" in value:
        refuse("a private key must not stand in this file; give the path of a file outside version control")
    if secrets.is_reference(value):
        return secret_reference(value)
    return value if re.fullmatch(places.OTHER_KEY, value) else _any_path(value)


def _username(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if secrets.is_reference(text):
        secret_reference(text)
    elif not text.strip() or not text.isprintable() or len(text) > LONGEST_PATH or ":" in text:
        refuse("not a user name")
    return value


def _password(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not secrets.is_reference(text):
        refuse("a password must not stand in this file, which is made to be shared")
    secret_reference(text)
    return value


def _matching(pattern: str, reason: str) -> AfterValidator:
    def check(value: str) -> str:
        if not names.matches(pattern, value):
            refuse(reason)
        return value

    return AfterValidator(check)


def _platforms(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        refuse("at least one platform is needed")
    return once(value)


def _platform(value: str) -> str:
    if value not in places.PLATFORMS:
        aliases = {"linux/x86_64": "linux/amd64", "linux/aarch64": "linux/arm64"}
        near = aliases.get(value.lower()) or aliases.get(f"linux/{value.lower()}")
        refuse("not a platform", nearest=near or names.closest(value, places.PLATFORMS))
    return value


def _require(value: tuple[str, ...]) -> tuple[str, ...]:
    if sum(item.startswith("approved") for item in value) > 1:
        refuse("one number of approvals is enough")
    return once(value)


def _requirement_of_policy(value: str) -> str:
    if not names.matches(places.REQUIRE, value):
        if value == "approved":
            refuse("how many approvals?", nearest="approved:1")
        known = ("test", "golden", "signed", "scanned", "approved:1")
        refuse("nothing that a policy can ask for", nearest=names.closest(value, known))
    return value


AnyPath = Annotated[
    str, AfterValidator(_any_path), worded("a path, absolute or relative to the project's folder")
]
Text = Annotated[str, AfterValidator(_plain), worded("text in one line")]
Command = Annotated[str, AfterValidator(_plain), worded("a command of a shell, in one line")]
RegistryUrl = Annotated[str, AfterValidator(_registry), worded(places.REGISTRY_RULE)]
HttpAddress = Annotated[str, AfterValidator(_http), worded('an address such as "https://s3.example.com"')]
Base = Annotated[str, AfterValidator(_base), worded(places.BASE_RULE)]
KeyReference = Annotated[str, AfterValidator(_key), worded(places.KEY_RULE)]
PublicKey = Annotated[str, AfterValidator(_key), worded("a file with a public key as PEM, or PLUGIN://...")]
UserName = Annotated[
    SecretStr, AfterValidator(_username), worded("a user's name, or a reference to a secret")
]
SecretReference = Annotated[
    SecretStr, AfterValidator(_password), text_of(places.REFERENCE, places.REFERENCE_RULE)
]
Package = Annotated[
    str,
    _matching(places.PACKAGE, "not the name of a Debian package"),
    text_of(places.PACKAGE, places.PACKAGE_RULE),
]
Ignored = Annotated[
    dict[Annotated[str, _matching(places.VULNERABILITY, "not the id of a vulnerability")], Text],
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": places.VULNERABILITY, "$comment": places.VULNERABILITY_RULE},
            "additionalProperties": {"type": "string"},
        }
    ),
]
"""Vulnerabilities, each with the reason why it does not matter."""
Trusted = Annotated[
    dict[InsidePath, Text],
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
"""Files of the project, each with the reason why the code in it may be run."""
Platform = Annotated[
    str, AfterValidator(_platform), WithJsonSchema({"type": "string", "enum": list(places.PLATFORMS)})
]
Platforms = Annotated[tuple[Platform, ...], Field(strict=False), AfterValidator(_platforms)]
AnyPlatforms = Annotated[tuple[Platform, ...], Field(strict=False), AfterValidator(once)]
"""The same, or none at all."""
Require = Annotated[
    tuple[
        Annotated[str, AfterValidator(_requirement_of_policy), text_of(places.REQUIRE, places.REQUIRE_RULE)],
        ...,
    ],
    Field(strict=False),
    AfterValidator(_require),
]
