"""The fast lane and plain ``bentoml serve`` get the same requests to the same services, good and bad."""

from __future__ import annotations

import pytest

from bento_place import Asked, Both, ask, said

pytestmark = pytest.mark.story

FORM = "multipart/form-data; boundary=b"
FILE = (
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n'
    b"content-type: text/plain\r\n\r\nin a file\r\n--b--\r\n"
)
METHODS = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")

GOOD = [
    said("/greet", {"name": "Ada", "times": 2}),
    said("/greet", {}),
    said("/greet", {"name": "\ud800 half of a pair"}),
    said("/greet", {"name": "emoji 😀 \u0000"}),
    Asked("/greet?name=Eve&times=3", b'{"name": "Ada"}'),
    Asked("/greet", b'{"name": "Ada"}', headers={"content-type": "application/json; charset=utf-8"}),
    Asked("/greet", b'{"name": "Ada"}', headers={"content-type": "text/plain"}),
    Asked("/greet", b'{"name": "Ada"}', headers={}),
    Asked("/greet", b"name=Ada", headers={"content-type": "application/x-www-form-urlencoded"}),
    said("/greet_later", {"name": "Ada"}),
    said("/hooked", {}),
    said("/double", {"values": [0.1, 1, -2.5]}),
    said("/double", {"values": [[1, 2], [3, 4]]}),
    said("/double", {"values": 3}),
    said("/double", {"values": []}),
    Asked("/double", b'{"values": [NaN, Infinity, -Infinity, 1e39]}'),
    said("/double", {"values": ["1", "2.5"]}),
    said("/double", {"values": list(range(200_000))}),
    said("/shaped", {"values": [1, 2, 3, 4, 5, 6]}),
    said("/shaped", {"values": [[1, 2, 3], [4, 5, 6]], "sign": "-"}),
    *(said("/strange", {"which": which}) for which in ("nan", "huge", "empty", "scalar")),
    said("/move", {"point": {"x": 1, "tags": ["ä"]}, "by": 0.25}),
    said("/move", {"point": {"x": "1.5"}}),
    said("/move", {"point": {"x": 1, "unknown": 2}}),
    Asked("/move", b'{"point": {"x": NaN}}'),
    said("/root", {"x": 4}),
    said("/root_list", [1, 2, 3]),
    said("/root_list", []),
    Asked("/root_text", "grüß".encode(), headers={"content-type": "text/plain"}),
    Asked("/root_text", b""),
    Asked("/raw", bytes(range(256)), headers={"content-type": "application/octet-stream"}),
    Asked("/raw", b"a"),
    said("/csv", {}),
    said("/anything", {}),
    said("/anything", {"value": {"a": [1, None]}, "other": 3, "kwargs": {"more": 1}}),
    said("/anything", {"value": 2**70, "kwargs": {}}),
    said("/from_thread", {"value": 1.5}),
    said("/asks_context", {"name": "Ada"}, x_given="yes"),
    said("/elsewhere/deep", {"a": 1}),
    said("/rows", {"values": [[1, 2], [3, 4], [5, 6]]}),
    said("/rows", {"values": [[row, 1] for row in range(11)]}),
    said("/words", {"texts": ["a", "bcd"]}),
    said("/words", {"texts": []}),
]
LEFT_TO_BENTOML = [
    said("/with_context", {"name": "Ada"}),
    said("/own_response", {"kind": "json"}),
    said("/own_response", {"kind": "text"}),
    said("/returned_response", {}),
    Asked("/file_in", FILE, headers={"content-type": FORM}),
    said("/file_out", {}),
    said("/count", {"to": 5}),
    said("/count_later", {"to": 5}),
    said("/count", {"to": "many"}),
    Asked("/greet", b"\x80\x04N.", headers={"content-type": "application/vnd.bentoml+pickle"}),
    Asked("/mounted/page", method="GET"),
    Asked("/mounted/none", method="GET"),
    Asked("/schema.json", method="GET"),
    Asked("/docs.json", method="GET"),
    Asked("/", method="GET"),
    *(
        Asked(path, method=method)
        for path in ("/livez", "/readyz", "/healthz")
        for method in ("GET", "HEAD", "POST")
    ),
    Asked("/job/status", method="GET"),
    said("/job", {"value": 1}),
]
BAD = [
    *(
        Asked("/greet", body)
        for body in (b"", b"{", b'{"name": "A', b"[]", b"null", b"\xff\xfe", b"[" * 3000, b'{"name": 1}')
    ),
    said("/greet", {"times": 4}),
    said("/greet", {"times": "two"}),
    said("/greet", {"times": 1.5}),
    said("/greet", {"times": True}),
    said("/greet", {"name": None}),
    said("/greet", {"nam": "Ada"}),
    said("/greet_later", {}),
    Asked("/greet_later", b""),
    said("/double", {"values": "text"}),
    said("/double", {"values": [[1], [1, 2]]}),
    said("/double", {"values": None}),
    said("/double", {}),
    said("/shaped", {"values": [1, 2, 3]}),
    said("/shaped", {"values": [2**63] * 6}),
    said("/shaped", {"values": [1.5] * 6}),
    said("/shaped", {"values": [1] * 6, "sign": "*"}),
    said("/strange", {"which": "list"}),
    said("/strange", {"which": "none"}),
    said("/move", {"point": {"x": 1, "tags": ["1", "2", "3", "4"]}}),
    said("/move", {"point": {"x": 1}, "by": 0}),
    said("/move", {"point": [1, 2]}),
    said("/root", {}),
    Asked("/root", b""),
    said("/root_list", {"a": 1}),
    said("/root_list", ["a"]),
    Asked("/root_list", b"{"),
    Asked("/root_list", b"\xff"),
    Asked("/root_text", b"\xff"),
    said("/anything", {"value": 1, "other": "x", "kwargs": {}}),
    said("/anything", {"extra": 1}),
    *(said("/wrong_output", {"kind": kind}) for kind in ("texts", "none", "object")),
    said("/wrong_model", {}),
    *(
        said(path, {"kind": kind})
        for path in ("/fail", "/fail_later")
        for kind in ("runtime", "key", "bad", "teapot", "missing", "argument", "secret", "busy")
    ),
    said("/fail", {"kind": "stop"}),
    said("/rows", {"values": [[13, 0]]}),
    said("/rows", {"values": [["a"]]}),
    said("/rows", {"values": 1}),
    said("/rows", {}),
    said("/words", {"texts": [1]}),
    said("/unknown", {}),
    said("/greet/", {}),
    said("//greet", {}),
    said("/greet%20", {}),
    said("/GREET", {}),
    *(Asked("/greet", method=method) for method in METHODS),
    *(Asked("/unknown", method=method) for method in ("GET", "HEAD", "OPTIONS")),
]


@pytest.mark.parametrize("asked", [*GOOD, *LEFT_TO_BENTOML, *BAD], ids=str)
def test_the_answers_are_the_same(many: Both, asked: Asked) -> None:
    assert ask(many.lane, asked) == ask(many.stock, asked)
