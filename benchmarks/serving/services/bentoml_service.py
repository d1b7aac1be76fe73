"""A BentoML service as its documentation writes it."""

from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import ContentType
from session import load


@bentoml.service(name="bench", workers=1)
class Bench:
    def __init__(self) -> None:
        self.session = load()

    @bentoml.api
    def predict(self, x: list[list[float]]) -> dict[str, list[list[float]]]:
        (answer,) = self.session.run(["y"], {"x": np.asarray(x, dtype=np.float32)})
        return {"y": answer.tolist()}

    @bentoml.api
    def image(self, raw: Annotated[bytes, ContentType("application/octet-stream")], /) -> list[float]:
        pixels = np.frombuffer(raw, dtype=np.float32).reshape(1, 3, 224, 224)
        (answer,) = self.session.run(["y"], {"x": pixels})
        return answer[0].tolist()
