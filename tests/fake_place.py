"""A place for the contract, in memory."""

from __future__ import annotations

from pathlib import Path

from modeldeploy.model import BundleRef, HttpRequest, HttpResponse, RevisionId, RevisionSpec
from modeldeploy.testing import Behaviour, FakeClock, FakeTarget, FakeWorld, Place


def spec(version: str) -> RevisionSpec:
    bundle = BundleRef("digits", version, f"sha256:{version:0>64}")
    return RevisionSpec(
        RevisionId(f"{version}-0a0a0a0a"), "digits", bundle, "/bundle", "000001-0", replicas=2
    )


def new_world(folder: Path) -> FakeWorld:
    world = FakeWorld(FakeClock(), folder, rate=0, strict=False)
    world.behave("3.0.0", Behaviour(pending=2, starting=3))
    world.behave("4.0.0", Behaviour(failed="cannot load the model"))
    return world


def place_in(world: FakeWorld, driver: type[FakeTarget] = FakeTarget) -> Place:
    def send(endpoint: str, request: HttpRequest, times: int) -> list[HttpResponse]:
        world.send(times)
        return [
            HttpResponse(200, b"", {"x-model-version": name})
            for name, share in world.applied.weights.items()
            for _ in range(times * share // 100)
        ]

    return Place(
        open=lambda: driver(world),
        good=spec("1.0.0"),
        other=spec("2.0.0"),
        slow=spec("3.0.0"),
        broken=spec("4.0.0"),
        probe=HttpRequest("GET", "/livez"),
        send=send,
        clock=world.clock,
    )
