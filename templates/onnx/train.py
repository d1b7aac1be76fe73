"""Train the digits model again, exactly as it is here: python train.py

    python train.py                  the model of this folder: logistic regression
    python train.py --model better   its successor: a small neural network, same inputs and outputs

Writes model.onnx (the model), golden.npz (32 samples that it has not seen, with its answers: every copy
of the model must give the same) and samples.json (two samples as a request body). Needs
scikit-learn, skl2onnx and onnxruntime. The data come with scikit-learn: 1,797 handwritten digits of
8 x 8 pixels (UCI Machine Learning Repository, Alpaydin and Kaynak, 1998).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 7
GOLDEN = 32
MODELS = {
    "baseline": LogisticRegression(C=0.02, max_iter=1000),
    "better": MLPClassifier(hidden_layer_sizes=(64,), alpha=1e-2, max_iter=400, random_state=SEED),
}


def main() -> None:
    """Train, export, record."""
    options = _options()
    images, digits = load_digits(return_X_y=True)
    train_images, test_images, train_digits, test_digits = train_test_split(
        images.astype(np.float32), digits, test_size=0.3, random_state=SEED, stratify=digits
    )
    pipeline = make_pipeline(StandardScaler(), MODELS[options.model]).fit(train_images, train_digits)
    model = export(pipeline)
    answers = run(model, test_images)
    right = float((answers["digit"] == test_digits).mean())
    print(f"{options.model}: {right:.1%} of {len(test_digits)} unseen digits are right")

    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"model{options.suffix}.onnx").write_bytes(model)
    golden = {"input/image": test_images[:GOLDEN]}
    golden |= {f"output/{name}": values[:GOLDEN] for name, values in answers.items()}
    np.savez(options.out / f"golden{options.suffix}.npz", **golden)
    if options.suffix:
        return  # the samples are those of the first version
    rows = ",\n  ".join(json.dumps(image.astype(int).tolist()) for image in test_images[:2])
    (options.out / "samples.json").write_text(f'{{"image": [\n  {rows}\n]}}\n')


def export(pipeline: Pipeline) -> bytes:
    """An ONNX model: image float32 [batch, 64] -> digit int64 [batch], probability float32 [batch, 10]."""
    model = convert_sklearn(
        pipeline,
        name="digits",
        initial_types=[("image", FloatTensorType([None, 64]))],
        options={"zipmap": False},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    rename(model.graph, {"label": "digit", "probabilities": "probability"})
    model.opset_import.sort(key=lambda opset: opset.domain)  # skl2onnx's order differs from run to run
    ranges = model.metadata_props.add()  # pixels go from 0 to 16: mdeploy refuses others
    ranges.key, ranges.value = "mdeploy.ranges", json.dumps({"image": [0, 16]})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Give values of a graph other names, wherever they occur."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for output in graph.output:
        output.name = names.get(output.name, output.name)


def run(model: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    """The model's answers by output name."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the digits model.")
    parser.add_argument("--model", choices=sorted(MODELS), default="baseline")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    parser.add_argument("--suffix", default="", help="put into the file names: model<suffix>.onnx")
    return parser.parse_args()


if __name__ == "__main__":
    main()
