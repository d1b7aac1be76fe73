"""Registries of several kinds behind a proxy, and machines whose users share bundles by them."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import registry_place
import s3_place
import small_bundles
from registry_faults import Proxy, Secured, faulty
from registry_tokens import token_server
from story_project import Story, Typed
from tls_place import authority

PASSWORD, TOKENS, S3 = "TLS and a password", "TLS and tokens", "S3"
KINDS = (PASSWORD, TOKENS, S3)
SIGNALS = {"killed": signal.SIGKILL, "Ctrl-C": signal.SIGINT}
"""How a command is interrupted; a connection that is ``cut`` is the third way."""


@dataclass
class Sharing:
    """A registry that works, a proxy before it, and the machines that share it."""

    kind: str
    folder: Path
    host: str
    """Where the registry itself listens."""
    bucket: str
    lines: str
    """Of ``[registry]``, besides its address."""
    environment: Mapping[str, str]
    secured: Secured | None
    proxy: Proxy = field(init=False)
    """The one that machines use unless they are told another."""
    users: list[Story] = field(default_factory=list)

    @contextmanager
    def another_way(self) -> Iterator[Proxy]:
        """A proxy before the registry. It hands on what came as a whole, as nginx does."""
        with faulty(self.host, whole=True, narrow=True, secured=self.secured) as proxy:
            yield proxy

    def machine(
        self, name: str, *, team: str = "team", by: Proxy | None = None, home: Path | None = None
    ) -> Story:
        """Another machine; ``team`` is the registry's prefix, so that another one is another registry."""
        place = self.folder / name
        by = by or self.proxy
        url = f"s3://{self.bucket}/{team}" if self.kind == S3 else by.url(team)
        user = Story(small_bundles.project(place / "project", url), home or place / "home", self.folder)
        user.home.mkdir(mode=0o700)
        (user.home / "format").write_text("1")
        endpoint = f'endpoint = "{by.url("")}"\n' if self.kind == S3 else ""
        user.file.write_text(user.file.read_text() + self.lines + endpoint)
        user.environment |= {"HOME": str(place), **self.environment}
        if self.kind == TOKENS:
            user.environment["DOCKER_CONFIG"] = str(registry_place.login(place / ".docker", by.host))
        self.users.append(user)
        return user

    def close(self) -> None:
        for user in self.users:
            user.close()


@contextmanager
def sharing(kind: str, folder: Path) -> Iterator[Sharing]:
    """A registry of that kind with nothing in it."""
    with ExitStack() as open_ones:
        shared = (_bucket if kind == S3 else _registry)(kind, folder, open_ones)
        shared.proxy = open_ones.enter_context(shared.another_way())
        open_ones.callback(shared.close)
        yield shared


def _bucket(kind: str, folder: Path, open_ones: ExitStack) -> Sharing:
    patched = open_ones.enter_context(pytest.MonkeyPatch.context())
    s3_place.log_in(patched)
    endpoint = open_ones.enter_context(s3_place.serving())
    bucket = s3_place.new_place(endpoint).bucket
    return Sharing(kind, folder, endpoint.rpartition("/")[2], bucket, "", {}, None)


def _registry(kind: str, folder: Path, open_ones: ExitStack) -> Sharing:
    auth, tokens, secured = "basic", None, Secured(*authority(folder / "tls"))
    if kind == TOKENS:
        tokens = open_ones.enter_context(token_server(folder / "tokens", secured=secured))
        auth = "bearer"
    place = open_ones.enter_context(
        registry_place.registry(folder / "registry", auth=auth, tls=secured, token=tokens)
    )
    lines = f'ca = "{place.ca}"\n'
    if kind == PASSWORD:
        lines += f'username = "{registry_place.USER}"\npassword = "secret:env:REGISTRY_PASSWORD"\n'
    secrets = {"REGISTRY_PASSWORD": registry_place.PASSWORD}
    return Sharing(kind, folder, place.host, "", lines, secrets, place.secured)


class Trouble:
    """What happens to a command at work, each after so many more bytes of content have moved."""

    def __init__(self, proxy: Proxy, events: Sequence[tuple[int, str]]) -> None:
        self._proxy, self._left, self._lock = proxy, list(events), threading.Lock()
        self.happened: list[str] = []

    def through(self, user: Story, line: str) -> Typed:
        """Type a command and interrupt it so; what came of it. The last ones may not come to pass."""
        running = user.begin(line)
        next_at = self._proxy.sent + self._proxy.received

        def interrupt(moved: int) -> bool:
            nonlocal next_at
            with self._lock:
                if not self._left or moved < next_at + self._left[0][0]:
                    return False
                next_at = moved
                how = self._left.pop(0)[1]
                self.happened.append(how)
                if how in SIGNALS:
                    running.send(SIGNALS[how])
                return True

        self._proxy.interrupt = interrupt
        try:
            return running.end()
        finally:
            self._proxy.interrupt = lambda _: False


def at_random(chance: random.Random, least: float, most: float, *hows: str) -> list[tuple[int, str]]:
    """Interruptions, each after a random number of bytes."""
    return [(int(chance.uniform(least, most)), how) for how in hows]
