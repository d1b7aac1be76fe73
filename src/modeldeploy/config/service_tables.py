"""The tables about the service: what it lets in, how it runs, and how several models are one.

The same words as in `schema`, which puts the whole file together.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from modeldeploy.config import names
from modeldeploy.config.model_tables import Inputs, Outputs, TensorName
from modeldeploy.config.table import Table
from modeldeploy.config.values import Duration, Entrypoint, Hook, Name, Size, once, refuse, worded

_CONNECT_RULE = "inputs as `model.input`, each with the `model.output` or the service's input that it gets"
LONGEST_RULE = 1000


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        refuse("at least one is needed")
    return once(value)


def _several(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(value) < 2:
        refuse("at least two models are needed")
    return once(value)


def _connect(value: dict[str, str]) -> dict[str, str]:
    for end in value:
        model, _, tensor = end.partition(".")
        if not names.matches(names.NAME, model) or not tensor:
            refuse(f'"{end[:60]}" is no input of a model; write it as "model.input"')
    return value


def _rule(value: str) -> str:
    if not value.strip() or not value.isprintable() or len(value) > LONGEST_RULE:
        refuse("not a condition in one line")
    return value


Members = Annotated[
    tuple[Name, ...],
    Field(strict=False),
    AfterValidator(_several),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "pattern": names.NAME},
            "minItems": 2,
            "uniqueItems": True,
            "$comment": "a list in brackets of at least two of the models",
        }
    ),
]
Connect = Annotated[
    dict[str, TensorName],
    AfterValidator(_connect),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": "string", "minLength": 1},
            "$comment": _CONNECT_RULE,
        }
    ),
]
Condition = Annotated[
    str, AfterValidator(_rule), worded("a condition on inputs: a comparison, or several with and, or, not")
]
Weight = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class ChainTable(Table):
    """Models one after the other: each gets what those before it gave."""

    models: Members = Field(
        description="The models, in this order. The last one's outputs are the service's.",
        examples=[["scaler", "classifier"]],
    )
    connect: Connect = Field(
        default_factory=dict,
        description="Which input gets which output, where the names are not equal and it is not the only one "
        "to the only one; or which input of the service, by its name alone.",
        examples=[{"classifier.features": "scaler.variable"}],
    )


class EnsembleTable(Table):
    """Models side by side: all get the same inputs, and their outputs become one."""

    models: Members = Field(description="The models that are asked.", examples=[["first", "second", "third"]])
    combine: Literal["mean", "vote", "weighted"] = Field(
        default="mean",
        description="`mean` of numbers with a fraction; `weighted` mean of them; `vote`: of labels, the one "
        "that most models give. Of labels with equally many votes, the one counts whose first model stands "
        "first in `models`.",
        examples=["mean"],
    )
    weights: Annotated[tuple[Weight, ...], Field(strict=False)] = Field(
        default=(),
        description='For `combine = "weighted"`: one number for each model; only their ratios matter.',
        examples=[[2, 1, 1]],
    )
    outputs: Annotated[tuple[TensorName, ...], Field(strict=False), AfterValidator(once)] = Field(
        default=(),
        description="The outputs to combine and to give. Without it, all that every model has and that can "
        "be combined in this way.",
        examples=[["probability"]],
    )


class RuleTable(Table):
    """One case of a choice."""

    when: Condition = Field(
        description="Inputs compared with numbers or text, and `and`, `or`, `not`, parentheses. A name that "
        "is no plain word stands in backticks; `x[2]` is the third column of `x`.",
        examples=["age < 18 and country == 'FR'"],
    )
    model: Name = Field(description="The model for the rows for which it holds.", examples=["small"])


class ChooseTable(Table):
    """One of several models for each row, by the values of its inputs."""

    rules: Annotated[tuple[RuleTable, ...], Field(strict=False, min_length=1)] = Field(
        description="Conditions and models; for each row the first condition that holds decides.",
        examples=[[{"when": "age < 18", "model": "small"}]],
    )
    default: Name = Field(
        description="The model for the rows for which no condition holds.", examples=["large"]
    )


class ServiceTable(Table):
    """What answers requests. Without it, the service is generated from the model's signature."""

    entrypoint: Entrypoint | None = Field(
        default=None,
        description="Your own BentoML service instead of the generated one, as `module:Service`. Its code "
        "must be among the files of `build.include`.",
        examples=["service:Digits", "serving.app:Digits"],
    )
    preprocess: Hook | None = Field(
        default=None,
        description="Function of your own that is given what clients send, a dict of arrays, and gives what "
        "the model takes, as `module:function`. Its code must be among the files of `build.include`.",
        examples=["hooks:clean"],
    )
    postprocess: Hook | None = Field(
        default=None,
        description="The same for what the model gives: a dict of arrays, turned into what clients get.",
        examples=["hooks:label"],
    )
    inputs: Inputs = Field(
        default=(),
        description="What clients send, where `preprocess` makes the model's inputs from something else.",
        examples=[[{"name": "celsius", "dtype": "float32", "shape": ["batch", 64]}]],
    )
    outputs: Outputs = Field(
        default=(),
        description="What clients get, where `postprocess` makes something else of the model's outputs.",
        examples=[[{"name": "label", "dtype": "string", "shape": ["batch"]}]],
    )
    timeout: Duration = Field(
        default=60.0,
        description="Longest time from a request's first byte to its answer; then it is answered with 504.",
        examples=["60s"],
    )
    max_body: Size = Field(
        default=64 * 2**20,
        description="Largest body of a request; a larger one is answered with 413. MB are millions of bytes, "
        "MiB powers of two.",
        examples=["64MB"],
    )
    queue: int = Field(
        default=1024,
        ge=1,
        le=1_000_000,
        description="Most requests that wait for the model; one more is answered with 503.",
        examples=[1024],
    )
    batch_rows: int = Field(
        default=64,
        ge=0,
        le=1_000_000,
        description="Most rows of several requests that the model is given at once while it is busy; 0 for "
        "each request alone.",
        examples=[64],
    )
    workers: int = Field(
        default=1,
        ge=0,
        le=256,
        description="Processes of each replica; 0 for one per processor.",
        examples=[1],
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Threads of one inference; 0 for the processors, shared among the workers.",
        examples=[0],
    )
    providers: Annotated[
        tuple[Literal["cpu", "cuda", "tensorrt", "coreml"], ...],
        Field(strict=False),
        AfterValidator(_some),
    ] = Field(
        default=("cpu",),
        description="Where the model runs, the best first. Those after it are taken where it is not there; "
        "without one, its absence is an error.",
        examples=[["cpu"], ["cuda", "cpu"]],
    )
    graph_optimization: Literal["disable", "basic", "extended", "all"] = Field(
        default="all",
        description="How far ONNX Runtime rewrites a model when it loads it.",
        examples=["all"],
    )
    protocols: Annotated[tuple[Literal["grpc", "arrow"], ...], Field(strict=False), AfterValidator(once)] = (
        Field(
            default=(),
            description="Protocols that need packages of their own, beside those that are always there: the "
            "Open Inference Protocol over gRPC, and Arrow bodies.",
            examples=[["grpc", "arrow"]],
        )
    )
    tracing: bool = Field(
        default=False,
        description="Put the OpenTelemetry exporter into the bundle; traces are sent where "
        "`OTEL_EXPORTER_OTLP_ENDPOINT` says.",
        examples=[False],
    )
    chain: ChainTable | None = Field(
        default=None, description="Models one after the other: each gets what those before it gave."
    )
    ensemble: EnsembleTable | None = Field(
        default=None,
        description="Models side by side: all get the same inputs, and their outputs become one.",
    )
    choose: ChooseTable | None = Field(
        default=None, description="One of several models for each row, by the values of its inputs."
    )
