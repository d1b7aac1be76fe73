"""The tables about models: where each is, and what it takes and gives where its file does not tell.

The same words as in `schema`, which puts the whole file together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from modeldeploy.config.table import Table
from modeldeploy.config.values import Class, InsidePath, License, refuse, worded

Framework = Literal["onnx", "sklearn", "xgboost", "lightgbm", "tensorflow", "torch", "python"]
Dtype = Literal[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "string",
]
_LONGEST_NAME = 200
_LARGEST_DIMENSION = 2**31 - 1


def _tensor_name(value: str) -> str:
    if not value.strip() or not value.isprintable() or len(value) > _LONGEST_NAME:
        refuse("not a name that an input or output can have")
    return value


def _dimension(value: object) -> int | str:
    size = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_DIMENSION
    name = isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_NAME
    if not isinstance(value, int | str) or not (size or name):
        refuse("not the size of a dimension")
    return value


TensorName = Annotated[
    str, AfterValidator(_tensor_name), worded("the name of an input or output, in one line")
]
Dimension = Annotated[
    Any,
    PlainValidator(_dimension),
    WithJsonSchema(
        {
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": _LARGEST_DIMENSION,
            "minLength": 1,
            "$comment": "a whole number, or a name such as `batch` where any size will do",
        }
    ),
]


class OutputTable(Table):
    """What a model or a service gives."""

    name: TensorName = Field(description="Name of the output.", examples=["probability"])
    dtype: Dtype = Field(description="Type of its values, as numpy names it.", examples=["float32"])
    shape: Annotated[tuple[Dimension, ...], Field(strict=False)] | None = Field(
        default=None,
        description="Its dimensions: numbers, and names where any size will do; any shape without it.",
        examples=[["batch", 10]],
    )


class InputTable(OutputTable):
    """What a model or a service takes."""

    name: TensorName = Field(description="Name of the input.", examples=["image"])
    minimum: float | None = Field(
        default=None, allow_inf_nan=False, description="Lowest value that is let in.", examples=[0]
    )
    maximum: float | None = Field(
        default=None, allow_inf_nan=False, description="Highest value that is let in.", examples=[16]
    )
    nan: bool | None = Field(
        default=None,
        description="Whether a value may be missing, which clients say by null or NaN; for numbers with a "
        "fraction. Without it, as the model's file says.",
        examples=[True],
    )


Inputs = Annotated[tuple[InputTable, ...], Field(strict=False)]
Outputs = Annotated[tuple[OutputTable, ...], Field(strict=False)]
_IMAGE = {"name": "image", "dtype": "float32", "shape": ["batch", 64], "minimum": 0, "maximum": 16}
_PROBABILITY = {"name": "probability", "dtype": "float32", "shape": ["batch", 10]}


class NamedModelTable(Table):
    """One of several models."""

    path: InsidePath = Field(
        description="The model's file, or its folder.", examples=["models/small.onnx", "models/forest.skops"]
    )
    framework: Framework | None = Field(
        default=None,
        description="Insist on this framework. Without it, it is recognised from the file.",
        examples=["onnx"],
    )
    cls: Class | None = Field(
        default=None,
        alias="class",
        description='For `framework = "python"`: a class with `load(path)` and `predict`, which takes and '
        "gives a dict of arrays, as `module:Class`. Its code must be among the files of `build.include`.",
        examples=["forecast:Forecast"],
    )
    inputs: Inputs = Field(
        default=(),
        description="What it takes, where the file does not tell; or a narrower type, shape or range. Each "
        "has `name` and `dtype`, and may have `shape`, `minimum`, `maximum`, and `nan`: whether a value may "
        "be missing.",
        examples=[[_IMAGE]],
    )
    outputs: Outputs = Field(
        default=(), description="What it gives, where the file does not tell.", examples=[[_PROBABILITY]]
    )


class Tolerance(Table):
    """How far an answer may be from its golden sample: at most `atol + rtol * |expected|`."""

    rtol: float = Field(
        default=1e-4, ge=0, le=1, allow_inf_nan=False, description="Relative part.", examples=[1e-4]
    )
    atol: float = Field(
        default=1e-5, ge=0, allow_inf_nan=False, description="Absolute part.", examples=[1e-5]
    )


class ModelTable(NamedModelTable):
    """The trained model."""

    path: InsidePath | None = Field(  # type: ignore[assignment]  # the one key that [models.NAME] must have
        default=None,
        description="The model's file, or its folder. Required, unless there are several in `[models.NAME]`.",
        examples=["model.onnx", "models/digits.onnx"],
    )
    golden: InsidePath | None = Field(
        default=None,
        description="Recorded inputs and the outputs that every copy of the bundle must give for them; "
        "`mdeploy golden` records them.",
        examples=["golden.npz"],
    )
    tolerance: Tolerance = Field(
        default_factory=Tolerance,
        description="How far an answer may be from its golden sample.",
        examples=[{"rtol": 1e-4, "atol": 1e-5}],
    )
    license: License | None = Field(
        default=None,
        description="Licence of the model, as an SPDX expression; it is told by the bundle and the image.",
        examples=["Apache-2.0", "MIT OR CC-BY-4.0"],
    )
