"""A target in memory, for tests of the engine and of everything that drives a target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modeldeploy.errors import TargetRefused, TargetUnavailable
from modeldeploy.model import (
    Capabilities,
    Finding,
    HttpRequest,
    HttpResponse,
    Observed,
    RevisionId,
    RevisionSpec,
    RevisionStatus,
    Sample,
    Traffic,
)
from modeldeploy.testing.revision import FakeRevision
from modeldeploy.testing.world import FakeStore, FakeWorld

GOLDEN = b"golden"
WRONG = b"wrong"


class FakeTarget:
    """A `modeldeploy.target.Target` without any process: one terminal's view of a `FakeWorld`.

    A second `FakeTarget` on the same world is another terminal, or the same one after a crash.
    """

    def __init__(self, world: FakeWorld, *, capabilities: Capabilities | None = None) -> None:
        self.world = world
        self._capabilities = capabilities or Capabilities(
            frozenset({"canary", "blue-green", "rolling"}), weight_step=1
        )
        self._store = FakeStore(world.folder, world)
        self._seen: dict[RevisionId, RevisionStatus] = {}

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def store(self) -> FakeStore:
        return self._store

    def check(self) -> Sequence[Finding]:
        with self.world.hears("check"):
            return self.world.findings

    def observe(self) -> Observed:
        with self.world.hears("observe"):
            observed = self.world.observe()
            self._seen = {revision.id: revision for revision in observed.revisions}
            return observed

    def create(self, spec: RevisionSpec) -> None:
        with self.world.hears("create"):
            self.world.create(spec)

    def set_traffic(self, traffic: Traffic) -> None:
        with self.world.hears("set_traffic"):
            self.world.route(traffic, self._seen)

    def sample(self, revision: RevisionId) -> Sample:
        with self.world.hears("sample"):
            return self.world.sample(revision)

    def call(self, revision: RevisionId, request: HttpRequest) -> HttpResponse:
        """`GOLDEN` as the body, or `WRONG` where the revision's behaviour says so."""
        with self.world.hears("call"):
            found = self._existing(revision)
            if not found.ready_replicas:
                raise TargetUnavailable(f"{revision} is {found.state.value} and does not answer")
            found.answered = True
            found.lines.append(f"{request.method} {request.path} 200")
            body = WRONG if found.behaviour.wrong_answers else GOLDEN
            return HttpResponse(200, body, {"x-model-version": revision})

    def delete(self, revision: RevisionId, *, grace: float) -> None:
        with self.world.hears("delete"):
            self.world.remove(revision, grace)

    def logs(
        self,
        revision: RevisionId,
        *,
        tail: int,
        follow: bool = False,  # noqa: ARG002 - nobody to wait for
    ) -> Iterator[str]:
        """The last lines. Following ends at once: a fake writes only while somebody sleeps."""
        with self.world.hears("logs"):
            lines = self._existing(revision).lines
            return iter(lines[max(0, len(lines) - tail) :])

    def start(self) -> None:
        with self.world.hears("start"):
            self.world.start()

    def destroy(self) -> None:
        with self.world.hears("destroy"):
            self.world.destroy()

    def _existing(self, revision: RevisionId) -> FakeRevision:
        found = self.world.revisions.get(revision)
        if found is None:
            raise TargetRefused(f"there is no revision {revision}")
        return found
