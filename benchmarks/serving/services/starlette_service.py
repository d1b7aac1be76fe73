"""As little as a server can be: Starlette, orjson and the session."""

import numpy as np
import orjson
from session import load
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

session = load()


async def predict(request: Request) -> Response:
    x = np.asarray(orjson.loads(await request.body())["x"], dtype=np.float32)
    (answer,) = session.run(["y"], {"x": x})
    return Response(orjson.dumps({"y": answer.tolist()}), media_type="application/json")


async def image(request: Request) -> Response:
    pixels = np.frombuffer(await request.body(), dtype=np.float32).reshape(1, 3, 224, 224)
    (answer,) = session.run(["y"], {"x": pixels})
    return Response(orjson.dumps({"y": answer.tolist()}), media_type="application/json")


async def ready(_: Request) -> Response:
    return Response()


app = Starlette(
    routes=[
        Route("/predict", predict, methods=["POST"]),
        Route("/image", image, methods=["POST"]),
        Route("/ready", ready),
    ]
)
