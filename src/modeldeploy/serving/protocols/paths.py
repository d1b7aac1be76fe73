"""Every path of a generated service, by protocol."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from ..engine.batch import Rows
from ..engine.job import Engine
from ..exchange import Exchange, Handler, Request, Response, Route, Routes
from ..settings import ServiceSettings
from ..spec import ServiceSpec
from . import npy, v2, v2_metadata
from .aside import Aside
from .base import Codec, endpoint
from .identity import Identity
from .media import Negotiated, Reader, Writer
from .predict import NamedJson
from .sagemaker import CSV, Invocations

_NO_BODY = 64 * 1024
"""Bytes of a request that needs no body: more than any client sends with one."""
_HTML = "text/html; charset=utf-8"


def routes(spec: ServiceSpec, engine: Engine, who: Identity, settings: ServiceSettings) -> Routes:
    """The paths that ask this engine, and those that tell of it."""
    found = Routes()
    _add_predictions(found, spec, engine, who, settings)
    _add_health(found, engine, who)
    for method, path, value in v2_metadata.documents(spec, who):
        found.add(_telling(method, path, _always(_json(value))))
    _add_pages(found, spec, who, settings)
    return found


def not_found(path: str, model: str = "") -> Response:
    """The answer for a path of ours that is none, in its protocol's form. ``model``: the one there is."""
    text = f"there is no {path[:100]}"
    if path.startswith("/v2"):
        told = f"; expected a path of /v2/models/{model}, see /docs" if model else ""
        return _json({"error": text + told}, 404)
    return _json({"error": text, "field": None, "expected": "see /docs", "got": path[:100]}, 404)


def _add_predictions(
    found: Routes, spec: ServiceSpec, engine: Engine, who: Identity, settings: ServiceSettings
) -> None:
    aside = Aside()

    def add(path: str, codec: Codec, name: str | None = None) -> None:
        handler = endpoint(codec, engine, timeout=settings.timeout, aside=aside)
        found.add(Route("POST", path, handler, name or path, settings.max_body))

    add("/predict", predict_codec(spec))
    add("/invocations", invocations_codec(spec))
    infer = v2.Infer(spec, who.name, who.version)
    for place in v2_metadata.places(who):
        add(f"{place}/infer", infer, f"/v2/models/{who.name}/infer")


def predict_codec(spec: ServiceSpec) -> Negotiated:
    """JSON by name; .npy; and Arrow, where the service has it."""
    readers, writers = _binary_forms(spec)
    return Negotiated(NamedJson(spec).read, NamedJson(spec).write, readers, writers)


def invocations_codec(spec: ServiceSpec) -> Negotiated:
    """The same, with JSON in the other forms that SageMaker's and MLflow's clients send, and CSV."""
    readers, writers = _binary_forms(spec)
    forms = Invocations(spec)
    readers[CSV] = forms.read_csv
    writers[CSV] = lambda _: forms.write_csv
    return Negotiated(forms.read_json, NamedJson(spec).write, readers, writers)


def _binary_forms(spec: ServiceSpec) -> tuple[dict[str, Reader], dict[str, Callable[[Request], Writer]]]:
    rows = Rows(spec.inputs)
    readers: dict[str, Reader] = {npy.MEDIA: partial(npy.read, spec, rows)}
    writers: dict[str, Callable[[Request], Writer]] = {npy.MEDIA: npy.Writer(spec).choose}
    if "arrow" in spec.protocols:
        from . import arrow  # only where pyarrow is installed

        readers[arrow.MEDIA] = partial(arrow.read, spec, rows)
        writers[arrow.MEDIA] = lambda _: arrow.write
    return readers, writers


def _add_health(found: Routes, engine: Engine, who: Identity) -> None:
    places = [f"{place}/ready" for place in v2_metadata.places(who)]
    for path in ("/ping", "/v2/health/ready", *places):
        found.add(_telling("GET", path, _ready(engine)))
    found.add(_telling("GET", "/v2/health/live", _always(_json({"live": True}))))


def _add_pages(found: Routes, spec: ServiceSpec, who: Identity, settings: ServiceSettings) -> None:
    def openapi() -> Response:
        from .openapi import document  # most services are never asked for it

        return _json(document(spec, who, settings.max_body))

    def html() -> Response:
        from .page import POLICY, page

        return Response(200, page(spec, who), _HTML, POLICY)

    for paths, make in ((("/openapi.json", "/docs.json"), openapi), (("/docs", "/"), html)):
        handler = _once(make)
        for path in paths:
            found.add(_telling("GET", path, handler))


def _telling(method: str, path: str, handler: Handler) -> Route:
    return Route(method, path, handler, path, _NO_BODY, counted=False)


def _always(response: Response) -> Handler:
    return lambda exchange: exchange.reply(response)


def _once(make: Callable[[], Response]) -> Handler:
    """A handler whose answer is made when it is first asked for."""
    made: list[Response] = []

    def handle(exchange: Exchange) -> None:
        if not made:
            made.append(make())
        exchange.reply(made[0])

    return handle


def _ready(engine: Engine) -> Handler:
    yes, no = _json({"ready": True}), _json({"ready": False}, 503)
    return lambda exchange: exchange.reply(yes if engine.ready else no)


def _json(value: object, status: int = 200) -> Response:
    return Response(status, json.dumps(value, ensure_ascii=False).encode())
