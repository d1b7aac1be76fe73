"""The bucket: one client of S3, made when it is first needed, and its few calls with our errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from modeldeploy.clock import Clock
from modeldeploy.errors import RegistryRefused, RegistryUnavailable
from modeldeploy.registry.s3 import faults
from modeldeploy.registry.s3.faults import Answered, BrokenOff
from modeldeploy.registry.s3.limits import limit

CONNECTIONS = 16
"""Kept open at most; there are never more requests at once than threads that push and read."""
ATTEMPTS = 6
"""Of each request, with growing pauses between them."""
PAGE = 1000
"""Keys in one answer; S3 gives no more."""
PAUSES = (0.1, 0.5, 2.0, 5.0)
"""Seconds between tries to read on in an answer that broke off."""
LARGEST = 4 << 20
"""Bytes of a tag or a manifest, as the distribution specification has it for other registries."""
_TAGGED = ("get_object", "head_object", "put_object", "upload_part")
"""What S3 answers with an entity tag, always."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the bucket is reached. What is None comes from the AWS configuration and the environment."""

    profile: str | None = None
    region: str | None = None
    endpoint: str | None = None


class Bucket:
    """One bucket. All methods may be called from several threads at once."""

    def __init__(self, name: str, where: str, settings: Settings, clock: Clock) -> None:
        self.name, self.where, self.settings, self.clock = name, where, settings, clock
        self._lock = threading.Lock()
        self._client: Any = None

    def call(self, operation: str, *, key: str | None = None, **arguments: Any) -> Any:
        """One request, tried again where that may help. Raises `Answered` and `RegistryError`."""
        if key is not None:
            arguments["Key"] = key
        for pause in PAUSES:
            try:
                return self._once(operation, arguments)
            except BrokenOff:  # the library tries again what was not answered, and not this
                self.clock.sleep(pause)
        return self._once(operation, arguments)

    def _once(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        client = self._connected()
        with faults.asking(self.where):
            answer = getattr(client, operation)(Bucket=self.name, **arguments)
        if operation in _TAGGED and "ETag" not in answer:
            if body := answer.get("Body"):
                body.close()
            raise faults.nonsense(self.where, "something without an entity tag")
        return answer

    def ask(self, operation: str, *, key: str | None = None, **arguments: Any) -> Any:
        """The same for callers that expect no error of S3: all that it raises are ours."""
        try:
            return self.call(operation, key=key, **arguments)
        except Answered as answer:
            raise self.error(answer) from answer

    def error(self, answer: Answered) -> Exception:
        """An answer of S3 as one of our errors."""
        return faults.ours(self.where, self.name, answer)

    def head(self, key: str) -> Any | None:
        """What S3 knows of an object; None where there is none."""
        try:
            return self.call("head_object", key=key)
        except Answered as answer:
            if answer.missing:
                return None
            raise self.error(answer) from answer

    def get(self, key: str) -> tuple[bytes, str] | None:
        """A small object and its entity tag; None where there is none."""
        for pause in PAUSES:
            answer = self._begin_get(key)
            try:
                return self._rest(answer) if answer else None
            except RegistryUnavailable:
                self.clock.sleep(pause)
        answer = self._begin_get(key)
        return self._rest(answer) if answer else None

    def _begin_get(self, key: str) -> Any | None:
        try:
            return self.call("get_object", key=key)
        except Answered as answer:
            if answer.missing:
                return None
            raise self.error(answer) from answer

    def _rest(self, answer: Any) -> tuple[bytes, str]:
        content = b""
        with closing(answer["Body"]) as body, faults.asking(self.where):
            while piece := body.read(LARGEST + 1 - len(content)):
                content += piece
                if len(content) > LARGEST:
                    raise faults.nonsense(self.where, f"more than {LARGEST} bytes, which no manifest has")
        return content, str(answer["ETag"])

    def names(self, prefix: str) -> Iterator[str]:
        """What follows the prefix in the keys of all objects directly below it."""
        token: dict[str, Any] = {}
        while True:
            page = self.ask("list_objects_v2", Prefix=prefix, Delimiter="/", MaxKeys=PAGE, **token)
            for entry in page.get("Contents", ()):
                yield entry["Key"].removeprefix(prefix)
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _client(self.settings, self.where)
            return self._client


def _client(settings: Settings, where: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise RegistryRefused(
            f"{where} needs boto3, which is not installed", hint="pip install 'modeldeploy[aws]'"
        ) from error
    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=CONNECTIONS,
        connect_timeout=10,
        read_timeout=60,
        tcp_keepalive=True,
        # Digests are sent with what is written and checked on what is read: no second kind of sum.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    with faults.asking(where):
        session = boto3.session.Session(profile_name=settings.profile, region_name=settings.region)
        client = session.client("s3", endpoint_url=settings.endpoint, config=config)
    limit(client, where)
    return client
