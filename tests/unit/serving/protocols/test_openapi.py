"""The OpenAPI document and the try-it page, made from the signature."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeldeploy.serving.protocols.identity import Identity
from modeldeploy.serving.protocols.openapi import document, example
from modeldeploy.serving.protocols.page import page
from modeldeploy.serving.spec import DTYPES, TensorSpec
from serving_ask import Service

IMAGE = TensorSpec("image", "float32", ("batch", 4), 0, 16)
SCALE = TensorSpec("scale", "int8", ())


def told(service: Service) -> dict[str, Any]:
    answer = service.ask("/openapi.json", method="GET")
    assert answer.body == service.ask("/docs.json", method="GET").body
    content: dict[str, Any] = json.loads(bytes(answer.body))
    return content


def inputs_of(content: dict[str, Any]) -> Any:
    return jsonschema.Draft202012Validator(content["components"]["schemas"]["Inputs"])


def test_every_path_that_asks_the_model_is_told_with_its_answers() -> None:
    content = told(Service(IMAGE, SCALE))
    assert content["openapi"] == "3.1.0"
    assert content["info"]["title"] == "echo"
    for path in ("/predict", "/invocations", "/v2/models/echo/infer", "/v2/models/echo/versions/1.2.0/infer"):
        answers = content["paths"][path]["post"]["responses"]
        assert {"200", "400", "413", "415", "500", "503", "504"} <= set(answers)
    operations = [way["operationId"] for path in content["paths"].values() for way in path.values()]
    assert len(operations) == len(set(operations))


def test_every_path_that_is_told_exists() -> None:
    service = Service(IMAGE)
    servers = {"/livez", "/readyz"}
    for path, ways in told(service)["paths"].items():
        for method in ways:
            assert path in servers or service.routes.find(method.upper(), path)


def test_the_schema_takes_a_batch_or_a_sample_and_nothing_else() -> None:
    check = inputs_of(told(Service(IMAGE, SCALE)))
    assert check.is_valid({"image": [[1, 2, 3, 4]], "scale": 1})
    assert check.is_valid({"image": [1, 2, 3, 4], "scale": 1})
    for wrong in (
        {"image": [1, 2, 3], "scale": 1},
        {"image": [1, 2, 3, 17], "scale": 1},
        {"image": [1, 2, 3, 4], "scale": 128},
        {"image": [1, 2, 3, 4], "scale": 1.5},
        {"image": [1, 2, 3, 4]},
        {"image": [1, 2, 3, 4], "scale": 1, "more": 1},
        {"image": [], "scale": 1},
    ):
        assert not check.is_valid(wrong), wrong


bounds = st.none() | st.integers(-20, 20)


@st.composite
def signatures(draw: st.DrawFn) -> tuple[TensorSpec, ...]:
    shape = st.none() | st.lists(st.sampled_from(["n", None, 1, 3]), max_size=3).map(tuple)
    found = []
    for name in draw(st.lists(st.sampled_from(["a", "b:0", "<c>"]), min_size=1, unique=True)):
        dtype = draw(st.sampled_from(DTYPES))
        low, high = draw(bounds), draw(bounds)
        ranged = dtype not in ("bool", "string") and (low is None or high is None or low <= high)
        if dtype.startswith("u") and ranged and ((high or 0) < 0 or (low or 0) < 0):
            ranged = False
        found.append(TensorSpec(name, dtype, draw(shape), *((low, high) if ranged else ())))
    return tuple(found)


@settings(max_examples=150, deadline=None)
@given(signatures())
def test_the_example_is_one_that_the_schema_and_the_service_take(inputs: tuple[TensorSpec, ...]) -> None:
    service = Service(*inputs)
    said = example(inputs)
    assert (
        said
        == told(service)["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    )
    inputs_of(told(service)).validate(said)
    assert service.post("/predict", said)[0] == 200
    infer = told(service)["paths"]["/v2/models/echo/infer"]["post"]["requestBody"]["content"]
    assert service.post("/v2/models/echo/infer", infer["application/json"]["example"])[0] == 200


def test_an_input_that_is_too_large_to_look_at_has_no_example() -> None:
    service = Service(TensorSpec("image", "float32", ("n", 3, 224, 224)))
    assert example(service.spec.inputs) is None
    assert len(json.dumps(told(service))) < 30_000
    assert service.ask("/docs", method="GET").status == 200


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_page_loads_nothing_from_elsewhere_and_says_so_to_the_browser() -> None:
    service = Service(IMAGE)
    answer = service.ask("/docs", method="GET")
    assert answer.media_type == "text/html; charset=utf-8"
    assert "default-src 'none'" in dict(answer.headers)["content-security-policy"]
    assert service.ask("/", method="GET").body == answer.body
    text = bytes(answer.body).decode()
    assert not re.search(r"https?://|//[a-z]+\.", text)
    tags = _Tags()
    tags.feed(text)
    assert all(
        value == "data:," or value.startswith("/")
        for _, attrs in tags.seen
        for name, value in attrs.items()
        if name in ("href", "src") and value
    )
    ids = [attrs["id"] for _, attrs in tags.seen if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = {attrs.get("for") for tag, attrs in tags.seen if tag == "label"}
    assert {attrs["id"] for tag, attrs in tags.seen if tag == "textarea"} <= named


def test_no_name_in_a_signature_becomes_markup() -> None:
    evil = TensorSpec("</script><script>alert(1)</script>", "float32", ("<b>",))
    service = Service(evil)
    text = page(service.spec, Identity("a", "<i>1</i>")).decode()
    assert "<script>alert" not in text
    assert "<i>" not in text
    assert "<b>" not in text


@pytest.mark.parametrize("version", ["", "2.0"])
def test_a_service_without_a_version_has_no_paths_for_one(version: str) -> None:
    paths = document(Service(IMAGE).spec, Identity("echo", version), 1000)["paths"]
    assert (f"/v2/models/echo/versions/{version}" in paths) == bool(version)
