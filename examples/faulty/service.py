"""The digits model behind a BentoML service of one's own, with a fault to choose: for rehearsals.

Deploy it over a healthy version and watch which gate refuses it, and why.
"""

import random
import time

import bentoml
import numpy as np
import onnxruntime

FAULT = "none"  # none | errors | slow | never-ready | crash


@bentoml.service(name="digits")
class Digits:
    def __init__(self) -> None:
        if FAULT == "never-ready":
            time.sleep(3600)
        if FAULT == "crash":
            raise RuntimeError("cannot open the feature store: connection refused")
        self.session = onnxruntime.InferenceSession("model.onnx")
        self.dice = random.Random(7)  # noqa: S311 - a rehearsal, the same every time

    @bentoml.api
    def predict(self, image: list[list[float]]) -> dict[str, list]:
        if FAULT == "errors" and self.dice.random() < 0.2:
            raise RuntimeError("lost the connection to the feature store")
        if FAULT == "slow":
            time.sleep(0.15)
        batch = np.asarray(image, dtype=np.float32)
        names = [output.name for output in self.session.get_outputs()]
        answers = self.session.run(names, {self.session.get_inputs()[0].name: batch})
        return {name: answer.tolist() for name, answer in zip(names, answers, strict=True)}
