"""The registry and its repositories."""

from __future__ import annotations

import hashlib
import io
import re
import threading
from collections.abc import Sequence
from typing import BinaryIO

from modeldeploy.clock import Clock, SystemClock
from modeldeploy.errors import ConfigError, RegistryRefused
from modeldeploy.oci.descriptor import DIGEST, Blob, Descriptor
from modeldeploy.registry.base import Moved, Sent
from modeldeploy.registry.names import insist_on_name, insist_on_tag
from modeldeploy.registry.s3 import copying, tags, upload
from modeldeploy.registry.s3.bucket import Bucket, Settings
from modeldeploy.registry.s3.stream import BUFFER, ObjectReader

_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[\w.-]+)*)/?")


class S3Registry:
    """Repositories in a bucket, all below one prefix of it."""

    def __init__(
        self,
        url: str,
        *,
        profile: str | None = None,
        region: str | None = None,
        endpoint: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        found = _URL.fullmatch(url)
        if found is None:
            raise ConfigError(f"{url[:200]!r} is no bucket of S3", hint='registry.url = "s3://BUCKET/PREFIX"')
        self.url = url
        self._prefix = f"{found[2].strip('/')}/".lstrip("/")
        self._bucket = Bucket(
            found[1], url.rstrip("/"), Settings(profile, region, endpoint), clock or SystemClock()
        )
        self._checked = endpoint is None  # AWS itself has conditional writes
        self._lock = threading.Lock()

    def repository(self, name: str) -> S3Repository:
        insist_on_name(name)
        return S3Repository(self, self._bucket, f"{self._prefix}{name}/")

    def key_of(self, name: str, digest: str) -> str:
        """Where a repository of this registry keeps a blob."""
        return f"{self._prefix}{insist_on_name(name)}/{_place('blobs', digest)}"

    def insist_on_conditions(self) -> None:
        """Raises `RegistryRefused` for a server where tags would not be safe. Asks once."""
        with self._lock:
            if not self._checked:
                tags.insist_on_conditions(self._bucket, self._prefix)
            self._checked = True


class S3Repository:
    """One repository. See `modeldeploy.registry.base.Repository`."""

    def __init__(self, registry: S3Registry, bucket: Bucket, prefix: str) -> None:
        self._registry, self._bucket, self._prefix = registry, bucket, prefix
        self.where = f"s3://{bucket.name}/{prefix}".rstrip("/")

    def has_blob(self, digest: str) -> bool:
        return self._bucket.head(self._key("blobs", digest)) is not None

    def push_blob(self, blob: Blob, *, moved: Moved) -> Sent:
        key = self._key("blobs", blob.descriptor.digest)
        if self._is_whole(key, blob.descriptor):
            return Sent(0, "present")
        for source in blob.sources:
            place = self._registry.key_of(source, blob.descriptor.digest)
            if place != key and self._is_whole(place, blob.descriptor):
                copying.copy(self._bucket, place, key, blob.descriptor.size)
                return Sent(0, "mounted")
        sent = upload.push(self._bucket, key, blob, moved)
        return Sent(sent, "sent")

    def open_blob(self, descriptor: Descriptor, *, start: int = 0) -> BinaryIO:
        key = self._key("blobs", descriptor.digest)
        reader = ObjectReader(self._bucket, key, descriptor.size, start)
        return io.BufferedReader(reader, BUFFER)

    def put_manifest(self, content: bytes, media_type: str) -> Descriptor:
        made = Descriptor.of(content, media_type)
        key = self._key("manifests", made.digest)
        if self._bucket.head(key) is None:
            upload.put(self._bucket, key, content, ContentType=media_type)
        return made

    def manifest(self, digest: str) -> bytes:
        found = self._bucket.get(self._key("manifests", digest))
        if found is None:
            raise RegistryRefused(
                f"{self.where} has no manifest {digest}", hint="see what there is: mdeploy bundles"
            )
        if f"sha256:{hashlib.sha256(found[0]).hexdigest()}" != digest:
            raise RegistryRefused(
                f"{self.where}: what is kept as the manifest {digest} is something else",
                hint="push it again from a machine that has it, and find out who changed the bucket",
            )
        return found[0]

    def tags(self) -> Sequence[str]:
        return sorted(name for name in self._bucket.names(f"{self._prefix}tags/") if name)

    def tag(self, tag: str) -> Descriptor | None:
        found = tags.read(self._bucket, self._tag(tag))
        return found.to if found else None

    def set_tag(self, tag: str, to: Descriptor, *, was: str | None) -> None:
        key = self._tag(tag)
        self._registry.insist_on_conditions()
        if self._bucket.head(self._key("manifests", to.digest)) is None:
            raise RegistryRefused(
                f"{self.where} has no manifest {to.digest} for the tag {tag}",
                hint="push it first: mdeploy push",
            )
        tags.move(self._bucket, key, to, was)

    def _is_whole(self, key: str, descriptor: Descriptor) -> bool:
        found = self._bucket.head(key)
        return found is not None and found["ContentLength"] == descriptor.size

    def _key(self, kind: str, digest: str) -> str:
        return f"{self._prefix}{_place(kind, digest)}"

    def _tag(self, tag: str) -> str:
        return f"{self._prefix}tags/{insist_on_tag(tag)}"


def _place(kind: str, digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise RegistryRefused(f"{digest[:80]!r} is no digest", hint="expected sha256: and 64 digits")
    return f"{kind}/{digest.replace(':', '/')}"
