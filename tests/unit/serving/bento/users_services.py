"""Services as users write them: put into Bentos by the tests beside, served twice, and compared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
import anyio.from_thread
import bentoml
import numpy as np
from bentoml.exceptions import BadInput, BentoMLException, InvalidArgument, NotFound, ServiceUnavailable
from bentoml.validators import ContentType, DType, Shape
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute


class Point(BaseModel):
    x: float
    y: float = 0.0
    tags: list[str] = []

    @field_validator("tags")
    @classmethod
    def few(cls, tags: list[str]) -> list[str]:
        if len(tags) > 3:
            raise ValueError("three tags at most")
        return tags


class Teapot(BentoMLException):
    error_code = BadInput.error_code


class Secret(BentoMLException):
    from http import HTTPStatus

    error_code = HTTPStatus.FORBIDDEN


FAILURES = {
    "runtime": RuntimeError("the inside of the model"),
    "exit": SystemExit(3),
    "stop": StopIteration(),
    "key": KeyError("k"),
    "bad": BadInput("no such colour"),
    "teapot": Teapot("short and stout"),
    "missing": NotFound("not here"),
    "argument": InvalidArgument("not this one"),
    "secret": Secret("the password is"),
    "busy": ServiceUnavailable("later"),
}


def make_response() -> JSONResponse:
    return JSONResponse({"made": "elsewhere"}, status_code=203, headers={"x-own": "2"})


def page(_: Any) -> PlainTextResponse:
    return PlainTextResponse("of the mounted app")


async def talk(socket: Any) -> None:
    await socket.accept()
    await socket.send_text((await socket.receive_text()).upper())
    await socket.close()


mounted = Starlette(routes=[Route("/mounted/page", page), WebSocketRoute("/mounted/talk", talk)])
hooks: list[str] = []


@bentoml.asgi_app(mounted, path="/")
@bentoml.service(name="many", threads=3)
class Many:
    """All kinds of methods."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    @bentoml.on_deployment
    def deployed() -> None:
        print("deployed")

    @bentoml.on_startup
    def begin(self) -> None:
        hooks.append("sync start")

    @bentoml.on_startup
    async def begin_too(self) -> None:
        await asyncio.sleep(0)
        hooks.append("async start")

    @bentoml.api
    def greet(
        self, name: str = "you", times: Annotated[int, annotated_types.Ge(1), annotated_types.Le(3)] = 1
    ) -> str:
        return " ".join([f"grüß dich, {name}"] * times)

    @bentoml.api
    async def greet_later(self, name: str) -> dict[str, str]:
        await asyncio.sleep(0.001)
        return {"greeting": f"grüß dich, {name}"}

    @bentoml.api
    def hooked(self) -> list[str]:
        return sorted(hooks)

    @bentoml.api
    def double(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values * 2

    @bentoml.api
    def shaped(
        self,
        values: Annotated[NDArray[np.int64], Shape((2, 3)), DType("int64")],
        sign: Literal["+", "-"] = "+",
    ) -> dict[str, Any]:
        return {"sum": int(values.sum()) * (1 if sign == "+" else -1), "shape": values.shape}

    @bentoml.api
    def strange(self, which: str) -> NDArray[np.float64]:
        return {
            "nan": np.array([np.nan, 1.5, -np.inf, np.inf]),
            "huge": np.array([[1e308, 1e16, 1e-7, 0.1, -0.0]]),
            "empty": np.zeros((0, 3)),
            "list": [1, 2],
            "scalar": np.array(3.0),
        }[which]

    @bentoml.api
    def move(self, point: Point, by: float = Field(default=1.0, gt=0)) -> Point:
        return Point(x=point.x + by, y=point.y + by, tags=point.tags)

    @bentoml.api
    def root(self, point: Point, /) -> float:
        return point.x

    @bentoml.api
    def root_list(self, numbers: list[int], /) -> int:
        return sum(numbers)

    @bentoml.api
    def root_text(self, text: str, /) -> str:
        return text[::-1]

    @bentoml.api
    def raw(self, data: bytes, /) -> Annotated[bytes, ContentType("application/octet-stream")]:
        return data + data

    @bentoml.api
    def csv(self) -> Annotated[str, ContentType("text/csv")]:
        return "a,b\n1,ä\n"

    @bentoml.api
    def anything(
        self, value: Any = None, other: int | None = None, **rest: Any
    ):  # no annotation: anything goes
        return {"value": value, "other": other, "rest": rest}

    @bentoml.api
    def wrong_output(self, kind: str) -> list[int]:
        return {"texts": ["a"], "none": None, "object": object()}[kind]

    @bentoml.api
    def wrong_model(self) -> Point:
        return {"x": 1.0}  # a mapping is no Point

    @bentoml.api
    def fail(self, kind: str) -> int:
        raise FAILURES[kind]

    @bentoml.api
    async def fail_later(self, kind: str) -> int:
        await asyncio.sleep(0)
        raise FAILURES[kind]

    @bentoml.api
    def from_thread(self, value: float) -> float:
        anyio.from_thread.run(asyncio.sleep, 0.001)
        return value

    @bentoml.api
    def asks_context(self, name: str) -> list[str]:
        context = bentoml.Context()
        Path(context.temp_dir, "file").write_text("scratch")
        return [name, context.request.url.path, context.request.headers["x-given"], context.request.method]

    @bentoml.api
    def with_context(self, name: str, ctx: bentoml.Context) -> str:
        ctx.response.status_code = 201
        ctx.response.headers["x-made"] = name
        ctx.response.set_cookie("crumb", name)
        return name

    @bentoml.api
    def own_response(self, kind: str):
        if kind == "json":
            return JSONResponse({"kind": kind}, status_code=202, headers={"x-own": "1"})
        return PlainTextResponse(kind)

    @bentoml.api
    def returned_response(self):
        return make_response()

    @bentoml.api
    def file_in(self, file: Path) -> str:
        return file.read_text()

    @bentoml.api
    def file_out(self, context: bentoml.Context) -> Path:
        path = Path(context.temp_dir, "answer.txt")
        path.write_text("a file")
        return path

    @bentoml.api
    def count(self, to: int) -> Generator[str, None, None]:
        for number in range(to):
            yield f"{number}\n"

    @bentoml.api
    async def count_later(self, to: int) -> AsyncGenerator[str, None]:
        for number in range(to):
            await asyncio.sleep(0)
            yield f"{number}\n"

    @bentoml.api(route="/elsewhere/deep")
    def moved(self, a: int) -> int:
        return a + 1

    @bentoml.api(batchable=True, max_batch_size=4)
    def rows(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if (values == 13).any():
            raise RuntimeError("thirteen")
        time.sleep(0.005)
        return values.sum(axis=1)

    @bentoml.api(batchable=True, max_batch_size=8)
    async def words(self, texts: list[str]) -> list[int]:
        await asyncio.sleep(0.001)
        return [len(text) for text in texts]

    @bentoml.task
    def job(self, value: int) -> int:
        return value + 1


class Stamp:
    def __init__(self, app: Any, text: str) -> None:
        self.app = app
        self.text = text

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def stamped(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-stamp", self.text.encode())]
            await send(message)

        await self.app(scope, receive, stamped)


@bentoml.service(name="guarded", traffic={"timeout": 1})
class Guarded:
    """With middleware: BentoML answers everything."""

    @bentoml.api
    def echo(self, text: str) -> str:
        return text

    @bentoml.api
    async def sleep(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"


Guarded.add_asgi_middleware(Stamp, text="stamped")


@bentoml.service(
    name="strict",
    traffic={"timeout": 0.5},
    path_prefix="/v1",
    metrics={"enabled": True, "namespace": "own"},
)
class Strict:
    """A short timeout, a prefix, health of its own, and a count of its own."""

    def __init__(self) -> None:
        self.sick = ""
        self.cancelled = 0
        self.counter = bentoml.metrics.Counter(name="own_things", documentation="things")

    def __is_alive__(self) -> bool:
        return self.sick != "dead"

    async def __is_ready__(self) -> bool:
        return self.sick == ""

    @bentoml.api
    def be(self, sick: str) -> str:
        self.sick = sick
        self.counter.inc()
        return sick

    @bentoml.api
    def block(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @bentoml.api
    async def wait(self, seconds: float) -> float:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return seconds

    @bentoml.api
    def how_many_cancelled(self) -> int:
        return self.cancelled


@bentoml.service(
    name="crowded",
    traffic={"max_concurrency": 1},
    http={"cors": {"enabled": True, "access_control_allow_origins": ["https://a.example"]}},
)
class Crowded:
    """Settings that every request has to know of."""

    @bentoml.api
    async def sleep(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds
