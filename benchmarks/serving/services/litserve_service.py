"""A LitServe service as its documentation writes it; numbers as JSON, an image as an uploaded file."""

import sys

import litserve
import numpy as np
from fastapi import Request
from session import load


class Bench(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.session = load()

    def decode_request(self, request: dict) -> np.ndarray:
        return np.asarray(request["x"], dtype=np.float32)

    def predict(self, x: np.ndarray) -> np.ndarray:
        (answer,) = self.session.run(["y"], {"x": x})
        return answer

    def encode_response(self, output: np.ndarray) -> dict:
        return {"y": output.tolist()}


class Image(Bench):
    def decode_request(self, request: Request) -> np.ndarray:
        return np.frombuffer(request["pixels"].file.read(), dtype=np.float32).reshape(1, 3, 224, 224)


if __name__ == "__main__":
    api = Image() if sys.argv[2] == "image" else Bench()
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        port=int(sys.argv[1]),
        host="127.0.0.1",
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
