"""What S3 and its library complain about, in mdeploy's own words and with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modeldeploy.errors import RegistryError, RegistryRefused, RegistryUnavailable

_BUSY = {
    "SlowDown",
    "ServiceUnavailable",
    "InternalError",
    "RequestTimeout",
    "Throttling",
    "ThrottlingException",
}
_DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
_NO_LOGIN = {
    "InvalidAccessKeyId": "does not know the access key",
    "SignatureDoesNotMatch": "does not accept the secret key",
    "ExpiredToken": "says that the credentials have expired",
    "ExpiredTokenException": "says that the credentials have expired",
    "TokenRefreshRequired": "says that the credentials have expired",
    "InvalidToken": "does not accept the session token",
}
_ACTIONS = (
    "s3:GetObject, s3:PutObject, s3:ListBucket, s3:AbortMultipartUpload, s3:ListMultipartUploadParts and "
    "s3:ListBucketMultipartUploads"
)
_LOG_IN = "log in (aws sso login, aws configure), or set AWS_PROFILE or registry.profile to one that works"


class Answered(Exception):
    """S3 answered with an error. Callers that expect one look at ``code``; the rest let it become ours."""

    def __init__(self, error: Any) -> None:
        response = error.response or {}
        told = response.get("Error", {})
        super().__init__(str(told.get("Code", "")))
        self.code = str(told.get("Code", ""))
        self.text = str(told.get("Message", ""))[:200]
        metadata = response.get("ResponseMetadata", {})
        self.status = int(metadata.get("HTTPStatusCode") or 0)
        self.region = metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region") or told.get("Region")

    @property
    def missing(self) -> bool:
        """The object is not there; an answer without a body does not tell whether its bucket is."""
        return self.code in ("NoSuchKey", "404", "NotFound")

    @property
    def damaged(self) -> bool:
        """What arrived is not what was sent."""
        return self.code in _DAMAGED


class BrokenOff(RegistryUnavailable):
    """The connection broke in the middle of an answer that the library reads as a whole."""


@contextmanager
def asking(where: str) -> Iterator[None]:
    """Nothing of the library's errors passes: S3's answers become `Answered`, all others `RegistryError`."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        raise Answered(error) from error
    except BotoCoreError as error:
        raise _unsaid(where, error) from error
    except HTTPError as error:
        told = f"{where}: the connection broke in the middle of an answer ({type(error).__name__})"
        raise BrokenOff(told, hint="run the same command again; it goes on where it ended") from error
    except ResponseParserError as error:
        raise nonsense(where, "something that is not of S3") from error
    except MemoryError as error:
        raise nonsense(where, "more than fits into this machine's memory") from error


def nonsense(where: str, came: str) -> RegistryRefused:
    """The error for an answer that no S3 gives."""
    return RegistryRefused(
        f"{where} answered with {came}",
        hint="check registry.url and registry.endpoint, and that no proxy or login page stands before it",
    )


def ours(where: str, bucket: str, answer: Answered) -> RegistryError:
    """The error to show for an answer of S3."""
    if answer.code in _BUSY or answer.status in (429, 500, 502, 503, 504):
        return RegistryUnavailable(
            f"{where} is busy: it answered {answer.code or answer.status} several times in a row",
            hint="run the same command again in a minute; what was sent already is not sent again",
        )
    if answer.damaged:
        return RegistryUnavailable(
            f"{where} received other bytes than were sent, several times in a row",
            hint="run the same command again; if it stays so, look at the network and its proxies",
        )
    for explain in (_who, _what):
        if found := explain(where, bucket, answer):
            return RegistryRefused(found[0], hint=found[1], details={"code": answer.code})
    return RegistryRefused(
        f"{where} answered {answer.code or answer.status}: {answer.text or 'no reason given'}",
        hint="check registry.url and registry.endpoint",
        details={"code": answer.code},
    )


def _who(where: str, bucket: str, answer: Answered) -> tuple[str, str] | None:
    if answer.code in _NO_LOGIN:
        return f"{where} {_NO_LOGIN[answer.code]}", _LOG_IN
    if answer.code == "RequestTimeTooSkewed":
        return (
            f"{where} says that this machine's clock is wrong by more than 15 minutes",
            "set the clock: sudo timedatectl set-ntp true",
        )
    if answer.code in ("AccessDenied", "AllAccessDisabled", "403") or answer.status == 403:
        return (
            f"{where}: these credentials are not allowed to do this (access denied)",
            f"allow {_ACTIONS} on arn:aws:s3:::{bucket} and arn:aws:s3:::{bucket}/*",
        )
    return None


def _what(where: str, bucket: str, answer: Answered) -> tuple[str, str] | None:
    if answer.code == "NoSuchBucket":
        return (
            f"{where}: there is no bucket '{bucket}'",
            f"correct registry.url, or make it: aws s3 mb s3://{bucket}",
        )
    if answer.code in _REGION:
        region = f'set registry.region = "{answer.region}"' if answer.region else "set registry.region to it"
        return f"{where}: the bucket '{bucket}' is in another region", region
    if answer.code == "InvalidObjectState":
        return (
            f"{where}: the content was moved to an archive (Glacier)",
            "restore it with aws s3api restore-object, and leave this prefix out of the lifecycle rule",
        )
    if answer.missing:
        return f"{where}: it is not there", "push it again: mdeploy push"
    return None


def _unsaid(where: str, error: Exception) -> RegistryError:
    """For errors of the library before, or instead of, an answer."""
    kind = type(error).__name__
    if kind in _SETTINGS:
        message, hint = _SETTINGS[kind]
        return RegistryRefused(f"{where}: {message}", hint=hint)
    if "SSO" in kind or "Login" in kind or "Token" in kind:
        return RegistryRefused(f"{where}: the login has expired or is not there", hint=_LOG_IN)
    if isinstance(error, _connection_errors()):
        return RegistryUnavailable(
            f"{where} does not answer ({kind})",
            hint="check the network, registry.endpoint and registry.region, then run the same command again",
        )
    return RegistryRefused(f"{where}: {kind}: {str(error)[:200]}", hint="check the table [registry]")


_SETTINGS = {
    "NoCredentialsError": ("there are no credentials for AWS on this machine", _LOG_IN),
    "PartialCredentialsError": ("the credentials for AWS are not complete", _LOG_IN),
    "CredentialRetrievalError": ("the credentials for AWS could not be had", _LOG_IN),
    "ProfileNotFound": (
        "there is no such profile in the AWS configuration",
        "list those there are: aws configure list-profiles; then correct registry.profile or AWS_PROFILE",
    ),
    "SSLError": (
        "its certificate cannot be verified",
        "if it is from a private authority, set AWS_CA_BUNDLE to that authority's PEM file",
    ),
    "InvalidRegionError": ("the name of the region is not one", "correct registry.region"),
}


def _connection_errors() -> tuple[type[Exception], ...]:
    from botocore import exceptions

    return (
        exceptions.HTTPClientError,
        exceptions.ConnectionError,
        exceptions.EndpointConnectionError,
        exceptions.ResponseStreamingError,
        exceptions.IncompleteReadError,
    )
