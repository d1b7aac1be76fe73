"""Answers ``questions.json`` of a folder into ``answers.json``, with the runtimes as a bundle has them.

A question: ``{"framework", "path", "options", "inputs": {name: values} or null, "declared": {"inputs",
"outputs"}}``. An answer: ``{"described": ..., "answer": {name: values}, "dtypes": {name: numpy's name},
"parallel": ...}``, or ``{"error": type and message}``. Runs in a framework's environment, without pytest.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

folder, serving = Path(sys.argv[1]), Path(sys.argv[2])
found = importlib.util.spec_from_file_location(
    "mdeploy_serving", serving / "__init__.py", submodule_search_locations=[str(serving)]
)
assert found is not None
sys.modules["mdeploy_serving"] = importlib.util.module_from_spec(found)
sys.path.insert(0, str(folder))


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """What the runtime makes of one question."""
    base = importlib.import_module("mdeploy_serving.runtimes.base")
    spec = importlib.import_module("mdeploy_serving.spec")
    runtime = importlib.import_module(f"mdeploy_serving.runtimes.{question['framework']}")
    described = runtime.describe(folder / question["path"], question.get("options", {}))
    told = described | question.get("declared", {})
    service = spec.parse(
        {
            "format": spec.FORMAT,
            "name": "m",
            "inputs": told["inputs"],
            "outputs": told["outputs"],
            "models": {
                "m": {
                    "framework": question["framework"],
                    "path": question["path"],
                    "inputs": told["inputs"],
                    "outputs": told["outputs"],
                    "options": described["options"],
                }
            },
        }
    )
    model = runtime.load(folder, service.models[0], base.Settings(threads=1))
    outputs: dict[str, Any] = {}
    if question.get("inputs"):
        arrays = {
            each.name: np.array(
                question["inputs"][each.name], object if each.dtype == "string" else each.dtype
            )
            for each in service.inputs
        }
        outputs = model.run(arrays)
    model.close()
    return {
        "described": described,
        "answer": {name: np.asarray(value).tolist() for name, value in outputs.items()},
        "dtypes": {name: np.asarray(value).dtype.name for name, value in outputs.items()},
        "parallel": model.parallel,
    }


answers = []
for each in json.loads((folder / "questions.json").read_text()):
    try:
        answers.append(answer(each))
    except Exception as error:  # noqa: BLE001  # it is the answer
        answers.append({"error": f"{type(error).__name__}: {error}"})
(folder / "answers.json").write_text(json.dumps(answers))
