"""The digits model behind a BentoML service, as one writes it by hand."""

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(name="handwritten")
class Digits:
    def __init__(self) -> None:
        self.session = onnxruntime.InferenceSession("model.onnx")

    @bentoml.api  # type: ignore[untyped-decorator]  # bentoml is not there where types are checked
    def predict(self, image: list[list[float]]) -> dict[str, list[object]]:
        batch = np.asarray(image, dtype=np.float32)
        names = [output.name for output in self.session.get_outputs()]
        answers = self.session.run(names, {"image": batch})
        return {name: answer.tolist() for name, answer in zip(names, answers, strict=True)}
