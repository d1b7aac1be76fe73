"""The lane of a generated service: a real model, loaded when the lane starts, asked on an event loop."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import MutableMapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from modeldeploy.serving import predictions
from modeldeploy.serving.exchange import Request, Response
from modeldeploy.serving.lane import Lane
from modeldeploy.serving.protocols.identity import Identity, identity
from modeldeploy.serving.spec import FILE, ServiceSpec
from serving_ask import Asked
from serving_place import DIGITS, TEMPLATE

SAMPLE = json.dumps({"image": [1] * 64}).encode()


class Silent:
    """A meter that nobody reads."""

    def answered(self, *_: object) -> None: ...
    def ran(self, *_: object) -> None: ...
    def failed(self, *_: object) -> None: ...
    def queue(self, *_: object) -> None: ...
    def loaded(self, *_: object) -> None: ...


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    shutil.copy(TEMPLATE / "model.onnx", tmp_path)
    (tmp_path / FILE).write_text(json.dumps(DIGITS))
    return predictions.lane(tmp_path, bundle=None, meter=Silent())


async def ask(lane: Lane, method: str, path: str, body: bytes = b"") -> Response:
    exchange = Asked(Request(method, path, {}, body))
    route = lane.routes.find(method, path)
    assert route is not None
    route.handler(exchange)
    if exchange.answer is None:
        exchange.answered = asyncio.Event()
        await asyncio.wait_for(exchange.answered.wait(), 30)
    assert exchange.answer is not None
    return exchange.answer


def test_a_lane_is_not_ready_before_it_has_started_and_after_it_has_stopped(lane: Lane) -> None:
    async def live() -> None:
        assert not lane.ready()
        early = await ask(lane, "POST", "/predict", SAMPLE)
        assert (early.status, early.headers) == (503, (("retry-after", "1"),))
        await lane.start()
        assert lane.ready()
        answer = await ask(lane, "POST", "/predict", SAMPLE)
        assert (answer.status, json.loads(bytes(answer.body))["digit"]) == (200, 4)
        answers = await asyncio.gather(*(ask(lane, "POST", "/predict", SAMPLE) for _ in range(20)))
        assert {json.loads(bytes(other.body))["digit"] for other in answers} == {4}
        assert (await ask(lane, "GET", "/ping")).status == 200
        await lane.stop()
        assert not lane.ready()
        assert (await ask(lane, "POST", "/predict", SAMPLE)).status == 503

    asyncio.run(live())


@pytest.mark.parametrize("path", ["/nothing", "/v2/models/other", "/v2/models/digits/versions/9/infer"])
def test_other_paths_are_none_in_the_form_of_their_protocol(lane: Lane, path: str) -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    asyncio.run(lane.app({"type": "http", "path": path, "method": "GET"}, receive, send))  # type: ignore[arg-type]  # a coroutine
    assert sent[0]["status"] == 404
    headers = dict(sent[0]["headers"])
    assert int(headers[b"content-length"]) == len(sent[1]["body"])
    assert headers[b"x-request-id"], "as every answer of the server has one"
    body = json.loads(sent[1]["body"])
    assert path in body["error"]
    assert (set(body) == {"error"}) == path.startswith("/v2")


def test_who_a_bundle_is_stands_in_its_manifest(tmp_path: Path) -> None:
    spec = ServiceSpec("digits")
    assert identity(spec, None) == identity(spec, tmp_path) == Identity("digits")
    content = json.dumps({"name": "shop-digits", "version": "1.2", "more": 1}).encode()
    (tmp_path / "mdeploy.json").write_bytes(content)
    assert identity(spec, tmp_path) == Identity("shop-digits", "1.2", f"sha256:{sha256(content).hexdigest()}")
