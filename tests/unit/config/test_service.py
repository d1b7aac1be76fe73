"""The tables about models and the service: what goes together, and what is told where it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from config_place import GOOD
from modeldeploy.bundle.recipe import Recipe
from modeldeploy.config import amounts
from modeldeploy.config.load import load
from modeldeploy.config.model_tables import Dtype, Framework
from modeldeploy.config.service_tables import ServiceTable
from modeldeploy.errors import ConfigError
from modeldeploy.serving import spec

Write = Callable[[str], Path]
Refused = Callable[[str], ConfigError]

PROJECT = '[project]\nname = "digits"\nversion = "1.0.0"\n'
TARGET = '[targets.local]\ndriver = "process"\nport = 8080\n'
TWO = PROJECT + TARGET + '[models.small]\npath = "a.onnx"\n[models.large]\npath = "b.onnx"\n'  # ten lines
CHAIN = TWO + '[service.chain]\nmodels = ["small", "large"]\n'


@pytest.fixture(autouse=True)
def _files(folder: Path) -> None:
    for name in ("a.onnx", "b.onnx", "hooks.py", "forecast.py"):
        (folder / name).write_text("pass")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PROJECT + TARGET, "model.path: missing; expected a path inside the project's folder"),
        (PROJECT + TARGET, 'such as "model.onnx"; or [models.NAME]'),
        (CHAIN + '[model]\npath = "a.onnx"\n', "14: model.path: there are several models in [models.NAME]"),
        (TWO, "7: models: nothing says how 2 models are one service; expected [service.chain]"),
        (GOOD + '[service.chain]\nmodels = ["a", "b"]\n', "service.chain: there is only one model"),
        (
            TWO + '[service.chain]\nmodels = ["small", "lrage"]\n',
            "12: service.chain.models[1]: there is no model 'lrage'",
        ),
        (GOOD + '[service]\nproviders = ["gpu"]\n', "did you mean 'cuda'?"),
        (TWO + '[service.chain]\nmodels = ["small"]\n', "at least two models are needed"),
        (TWO + '[service.chain]\nmodels = ["small", "small"]\n', "small is there twice"),
        (
            CHAIN + '[models.third]\npath = "a.onnx"\n',
            "13: models.third: no part of service.chain; expected its name",
        ),
        (
            CHAIN + 'connect = { "big.x" = "small.y" }\n',
            "service.chain.connect.\"big.x\": there is no model 'big'",
        ),
        (CHAIN + 'connect = { "x" = "small.y" }\n', '"x" is no input of a model; write it as "model.input"'),
        (
            CHAIN + '[service.ensemble]\nmodels = ["small", "large"]\n',
            "13: service.ensemble: service.chain says already",
        ),
        (
            TWO + '[service.ensemble]\nmodels = ["small", "large"]\nweights = [1, 2]\n',
            "service.ensemble.weights: only a weighted mean has weights",
        ),
        (
            TWO + '[service.ensemble]\nmodels = ["small", "large"]\ncombine = "weighted"\nweights = [1]\n',
            "service.ensemble.weights: 1 weights for 2 models; expected one number for each model",
        ),
        (
            TWO + '[service.ensemble]\nmodels = ["small", "large"]\ncombine = "weighted"\n',
            "0 weights for 2 models",
        ),
        (
            TWO
            + '[service.choose]\nrules = [\n{ when = "age <= and", model = "small" }]\ndefault = "large"\n',
            "13: service.choose.rules[0].when: column 8: 'and' cannot stand here; expected an input",
        ),
        (
            TWO + '[service.choose]\nrules = [{ when = "age = 3", model = "samll" }]\ndefault = "lage"\n',
            "did you mean '=='?",
        ),
        (
            TWO + '[service.choose]\nrules = [{ when = "age < 3", model = "samll" }]\ndefault = "lage"\n',
            "service.choose.rules[0].model: there is no model 'samll'; expected one of small, large; did",
        ),
        (
            TWO + '[service.choose]\nrules = [{ when = "age < 3", model = "small" }]\ndefault = "lage"\n',
            "service.choose.default: there is no model 'lage'",
        ),
        (
            'service.preprocess = "hooks.clean"\n' + GOOD,
            "not a function of a module; expected a module and a function",
        ),
        (
            'service.preprocess = "hoks:clean"\n' + GOOD,
            "there is no file hoks.py; expected a module",
        ),
        (
            'service.preprocess = "hooks:clean"\n' + GOOD,
            "build.include: the code of hooks:clean is not in the bundle",
        ),
        (
            'service.inputs = [{ name = "x", dtype = "float32" }]\n' + GOOD,
            "1: service.inputs: clients send what the model takes, for there is no preprocess",
        ),
        ('service.outputs = [{ name = "x", dtype = "float32" }]\n' + GOOD, "there is no postprocess"),
        (
            'service.inputs = [{ name = "x", dtype = "flaot32" }]\n' + GOOD,
            'service.inputs[0].dtype: "flaot32" is not known; expected one of',
        ),
        ('service.inputs = [{ name = "x" }]\n' + GOOD, "service.inputs[0].dtype: missing"),
        (
            'model.inputs = [{ name="x", dtype="bool" }, {name="x", dtype="bool"}]\nmodel.path = "a.onnx"\n'
            + PROJECT,
            "model.inputs[1].name: two have the name 'x'",
        ),
        (
            'model.inputs = [{ name = "x", dtype = "string", minimum = 1 }]\nmodel.path = "a.onnx"\n'
            + PROJECT,
            "minimum and maximum are for numbers, not for string",
        ),
        (
            'model.inputs = [{ name = "x", dtype = "int8", minimum=5, maximum=1 }]\nmodel.path = "a.onnx"\n'
            + PROJECT,
            "model.inputs[0].minimum: 5 is above the maximum of 1",
        ),
        (
            'model.inputs = [{ name = "x", dtype = "int8", nan = true }]\nmodel.path = "a.onnx"\n' + PROJECT,
            "model.inputs[0].nan: only numbers with a fraction can be NaN, not int8",
        ),
        (
            'model.inputs = [{ name = "x", dtype = "int8", shape = [-1] }]\nmodel.path = "a.onnx"\n'
            + PROJECT,
            "model.inputs[0].shape[0]: -1: not the size of a dimension; expected a whole number, or a name",
        ),
        (
            'model = { path = "a.onnx", framework = "python" }\n' + PROJECT,
            "model.framework: which class? It has `load(path)` and `predict`; expected class beside it",
        ),
        (
            'model = { path = "a.onnx", class = "forecast:F" }\n' + PROJECT,
            "only a model of your own class has this",
        ),
        (
            'model = { path = "a.onnx", framework = "python", class = "x:F" }\n' + PROJECT,
            "there is no file x.py",
        ),
        (
            'service = { entrypoint = "hooks:S", batch_rows = 3 }\nbuild.include = ["*.py"]\n' + GOOD,
            "service.batch_rows: has no effect on a service of your own (service.entrypoint)",
        ),
        (
            "service.max_body = 64\n" + GOOD,
            "1: service.max_body: 64: a bare number has no unit; expected a size such as",
        ),
        ('service.max_body = "64 MB"\n' + GOOD, '"64 MB": not a size'),
        ('service.max_body = "1TB"\n' + GOOD, '"1TB": not a size'),
        ('service.max_body = "999GB"\n' + GOOD, "a size must be at least 1B and at most 16GiB"),
        ("service.timeout = 60\n" + GOOD, "a bare number has no unit"),
        ("service.queue = 0\n" + GOOD, "service.queue: 0 is out of range; expected a whole number from 1 to"),
        (
            'service.providers = ["gpu"]\n' + GOOD,
            'service.providers[0]: "gpu" is not known; expected one of "cpu"',
        ),
        ("service.providers = []\n" + GOOD, "at least one is needed"),
        ('service.protocols = ["grpc", "grpc"]\n' + GOOD, "grpc is there twice"),
        ('service.chian = { models = ["a"] }\n' + GOOD, "service.chian: unknown key"),
    ],
)
def test_what_does_not_go_together_is_told_with_line_key_and_remedy(
    refused: Refused, text: str, told: str
) -> None:
    assert told in refused(text).message


def test_a_service_of_several_models_is_read(write: Write) -> None:
    text = (
        CHAIN
        + 'connect = { "large.x" = "small.y" }\n[service]\ntimeout = "2s"\nmax_body = "1MB"\nworkers = 0\n'
    )
    text += 'preprocess = "hooks:clean"\nprotocols = ["grpc"]\n[build]\ninclude = ["*.py"]\n'
    text += '[model]\nlicense = "MIT"\n'
    recipe = Recipe.of(load(write(text)))
    assert [(model.name, model.path.name) for model in recipe.models] == [
        ("small", "a.onnx"),
        ("large", "b.onnx"),
    ]
    assert recipe.license == "MIT"
    own = recipe.service
    assert own.graph == {"kind": "chain", "models": ["small", "large"], "connect": {"large.x": "small.y"}}
    assert (own.limits.timeout, own.limits.body, own.runtime.workers) == (2.0, 1_000_000, 0)
    assert (own.before, own.after, own.protocols, own.tracing) == ("hooks:clean", "", ("grpc",), False)
    assert recipe.code_names == {"[service] preprocess": "hooks:clean"}


def test_one_model_has_the_name_of_its_project_and_what_the_file_says_of_it(write: Write) -> None:
    text = 'build.include = ["*.py"]\nmodel = { path = "a.onnx", framework = "python", '
    text += (
        'class = "forecast:F", inputs = [{ name = "x", dtype = "float32", shape = ["n", 3], minimum=0 }] }\n'
    )
    (model,) = Recipe.of(load(write(text + PROJECT))).models
    assert (model.name, model.framework, model.python_class) == ("digits", "python", "forecast:F")
    assert str(model.inputs[0]) == "x: float32[n, 3]"
    assert model.inputs[0].minimum == 0


def test_a_folder_may_be_a_model_of_some_frameworks(folder: Path, write: Write, refused: Refused) -> None:
    (folder / "saved").mkdir()
    assert "saved is a folder" in refused(PROJECT + '[model]\npath = "saved"\n').message
    load(write(PROJECT + '[model]\npath = "saved"\nframework = "tensorflow"\n'))
    (folder / "saved" / "saved_model.pb").touch()
    load(write(PROJECT + '[model]\npath = "saved"\n'))


def test_the_words_and_defaults_of_the_file_are_those_of_the_service() -> None:
    assert get_args(Framework) == spec.FRAMEWORKS
    assert get_args(Dtype) == spec.DTYPES
    table = ServiceTable()
    limits, runtime = spec.Limits(), spec.Runtime()
    assert (table.timeout, table.max_body, table.queue) == (limits.timeout, limits.body, limits.queue)
    assert (table.workers, table.threads, table.providers) == (
        runtime.workers,
        runtime.threads,
        runtime.providers,
    )
    assert table.graph_optimization == runtime.graph_optimization


@pytest.mark.parametrize("size", [1, 1500, 64 * 2**20, 64_000_000, 3 * 2**30, 10**9])
def test_a_size_that_is_shown_is_read_back(size: int) -> None:
    assert amounts.parse(amounts.show(size)) == size
