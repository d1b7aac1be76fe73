"""What one request and its answer do not show: time, others at the same time, clients that leave, health."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bento_place import JSON, Address, Asked, Both, ask, said

pytestmark = pytest.mark.story


def talk(address: Address, text: str) -> bytes:
    """One word over a websocket and back, in the plainest form of the protocol: with a mask of zeros."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(
            b"GET /mounted/talk HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        )
        received = connection.recv(4096)
        if not received.startswith(b"HTTP/1.1 101"):
            return received.split(b"\r\n", 1)[0]
        word = text.encode()
        connection.sendall(bytes((0x81, 0x80 | len(word), 0, 0, 0, 0)) + word)
        return connection.recv(4096)[2 : 2 + len(word)]


def test_a_websocket_of_a_mounted_app_is_left_to_bentoml(many: Both) -> None:
    assert talk(many.lane, "hello") == talk(many.stock, "hello")


def test_plain_methods_are_on_the_fast_lane_and_the_log_says_why_others_are_not(many: Both) -> None:
    told = re.findall(r"(/\S+) is answered by BentoML itself \(([^)]+)\)", many.log.read_text())
    assert dict(told) == {
        "/count": "stream",
        "/count_later": "stream",
        "/file_in": "files",
        "/file_out": "context",
        "/job": "task",
        "/own_response": "responses",
        "/with_context": "context",
    }


def test_hooks_of_the_deployment_run_before_the_service_starts(many: Both) -> None:
    told = many.log.read_text()
    assert -1 < told.index("deployed") < told.index('"ready after')


def test_a_task_is_taken_and_its_result_can_be_fetched(many: Both) -> None:
    for address in (many.stock, many.lane):
        body = ask(address, said("/job/submit", {"value": 4})).body
        assert isinstance(body, dict)
        asked = Asked(f"/job/get?task_id={body['task_id']}", method="GET")
        deadline = time.monotonic() + 10
        while ask(address, asked).status != 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (ask(address, asked).status, ask(address, asked).body) == (200, 5)


def test_a_method_that_exits_ends_its_request_and_not_the_worker(many: Both) -> None:
    """Unlike stock BentoML, which stops serving: here it is not asked."""
    for path in ("/fail", "/fail_later"):
        assert ask(many.lane, said(path, {"kind": "exit"})).status == 500
    assert ask(many.lane, said("/greet", {})).status == 200


def test_a_body_above_the_limit_is_refused(many: Both) -> None:
    """Unlike stock BentoML, which has none, and keeps whatever it is sent."""
    asked = Asked("/raw", b" " * 3_000_001)
    assert (ask(many.stock, asked).status, ask(many.lane, asked).status) == (200, 413)
    assert ask(many.lane, Asked("/raw", b" " * 3_000_000)).status == 200


def test_of_a_batch_only_the_bad_row_fails(many: Both) -> None:
    """Unlike stock BentoML, which fails all that it has put together."""
    values = [[1.0, 1.0], [13.0, 0.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0], [5.0, 5.0]]
    with ThreadPoolExecutor(len(values)) as clients:
        for _ in range(3):
            answers = list(clients.map(lambda row: ask(many.lane, said("/rows", {"values": [row]})), values))
            assert [answer.status for answer in answers] == [200, 500, 200, 200, 200, 200]
            assert [answer.body for answer in answers if answer.status == 200] == [[2], [4], [6], [8], [10]]


def test_many_at_once_get_their_own_answers(many: Both) -> None:
    def each(number: int) -> tuple[object, object]:
        moved = ask(many.lane, said("/elsewhere/deep", {"a": number})).body
        later = ask(many.lane, said("/greet_later", {"name": str(number)})).body
        words = ask(many.lane, said("/words", {"texts": ["x" * number]})).body
        assert words == [number]
        return moved, later

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(each, range(64)))
    assert answers == [(number + 1, {"greeting": f"grüß dich, {number}"}) for number in range(64)]


def test_metrics_count_the_fast_lane_as_bentoml_does(many: Both) -> None:
    def counted(address: Address) -> list[str]:
        text = ask(address, Asked("/metrics", method="GET")).body
        assert isinstance(text, bytes)
        names = r"^(?:bentoml_service_request_(?:total|duration_seconds_count)|own_things_total)"
        return sorted(re.findall(rf'{names}.*endpoint="/elsewhere/deep".*$', text.decode(), re.MULTILINE))

    for address in (many.stock, many.lane):
        before = counted(address)
        for _ in range(3):
            assert ask(address, said("/elsewhere/deep", {"a": 1})).status == 200
        assert counted(address) != before
    without_values = [
        [line.rpartition(" ")[0] for line in counted(address)] for address in (many.lane, many.stock)
    ]
    assert without_values[0] == without_values[1]
    assert len(without_values[0]) == 3


@pytest.mark.parametrize(
    "asked",
    [
        said("/echo", {"text": "a"}),
        said("/echo", {}),
        said("/sleep", {"seconds": 0}),
        said("/sleep", {"seconds": 1.5}),
        Asked("/echo", method="GET"),
    ],
    ids=str,
)
def test_with_middleware_all_is_bentomls(guarded: Both, asked: Asked) -> None:
    ours, theirs = ask(guarded.lane, asked), ask(guarded.stock, asked)
    assert ours == theirs
    assert "(middleware)" in guarded.log.read_text()


@pytest.mark.parametrize(
    "asked",
    [
        said("/v1/block", {"seconds": 0.01}),
        said("/v1/block", {"seconds": 0.8}),
        said("/v1/wait", {"seconds": 0.01}),
        said("/v1/wait", {"seconds": 0.8}),
        said("/block", {"seconds": 0}),
        Asked("/v1/livez", method="GET"),
    ],
    ids=str,
)
def test_a_method_that_takes_too_long_is_answered_with_504(strict: Both, asked: Asked) -> None:
    assert ask(strict.lane, asked) == ask(strict.stock, asked)
    time.sleep(0.3)  # the thread of the one that was too slow is busy that long


def test_a_service_has_its_say_in_its_health(strict: Both) -> None:
    for sick in ("tired", "dead", ""):
        for address in (strict.stock, strict.lane):
            ask(address, said("/v1/be", {"sick": sick}))
        for path in ("/v1/livez", "/v1/readyz", "/v1/healthz"):
            asked = Asked(path, method="GET")
            assert ask(strict.lane, asked) == ask(strict.stock, asked), (sick, path)


def test_who_hangs_up_cancels_an_async_method(strict: Both) -> None:
    before = ask(strict.lane, said("/v1/how_many_cancelled", {})).body
    connection = http.client.HTTPConnection(*strict.lane)
    connection.request("POST", "/v1/wait", json.dumps({"seconds": 0.4}), JSON)
    time.sleep(0.1)
    connection.close()
    time.sleep(0.1)
    assert isinstance(before, int)
    assert ask(strict.lane, said("/v1/how_many_cancelled", {})).body == before + 1


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "GET"])
def test_cors_is_bentomls(crowded: Both, method: str) -> None:
    origin = {**JSON, "origin": "https://a.example", "access-control-request-method": "POST"}
    asked = Asked("/sleep", b'{"seconds": 0}', method, origin)
    ours = ask(crowded.lane, asked)
    assert ours == ask(crowded.stock, asked)
    assert ours.headers["access-control-allow-origin"] == "https://a.example"


def test_one_more_than_max_concurrency_is_refused(crowded: Both) -> None:
    for address in (crowded.stock, crowded.lane):
        first = threading.Thread(target=ask, args=(address, said("/sleep", {"seconds": 0.6})))
        first.start()
        time.sleep(0.2)
        second = ask(address, said("/sleep", {"seconds": 0}))
        first.join()
        assert (second.status, second.body) == (429, {"error": "Too many requests"})
