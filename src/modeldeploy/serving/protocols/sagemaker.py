"""``POST /invocations``, as SageMaker, MLflow and TensorFlow Serving's clients ask.

JSON by name as ``/predict`` takes it; ``{"instances": [...]}``, row by row; ``{"inputs": ...}``, column by
column; MLflow's tables, ``{"dataframe_split": ...}`` and ``{"dataframe_records": [...]}``; and CSV without a
header, a sample each line, where the one input has two dimensions of numbers. All but the first are answered
with ``{"predictions": ...}``; CSV on request (Accept) with CSV.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from ..engine.batch import Rows
from ..exchange import Request, Response
from ..problems import BadInput, UnsupportedMedia
from ..runtimes.base import Value
from ..spec import ServiceSpec, TensorSpec
from ..tensors.encode import plain_value, write_answer
from ..tensors.memory import check_memory
from ..tensors.rules import Array, Inputs, shortened
from ..tensors.validate import parse_json, read_inputs
from .base import Asked
from .datatypes import as_tensor
from .predict import NamedJson
from .signature import Unbatcher

CSV = "text/csv"
_FORMS = frozenset({"instances", "inputs", "dataframe_split", "dataframe_records"})
_MARKS = tuple(f'"{form}"'.encode() for form in sorted(_FORMS))
_NUMBERS = re.compile(rb"[0-9eE+\-.,\r\n \t]*")
_GAPS = re.compile(rb"(?:[0-9eE+\-.,\r\n \t]|[nN][aA][nN])*")
_WHOLE = re.compile(rb"[0-9+\-,\r\n \t]*")


class Invocations:
    """Reads and writes what is not named fields."""

    def __init__(self, spec: ServiceSpec) -> None:
        self._spec = spec
        self._named = NamedJson(spec)
        self._names = {tensor.name for tensor in spec.inputs}
        self._as_asked = Unbatcher(spec)
        self._is_matrix = len(spec.inputs) == 1 and len(spec.inputs[0].shape or ()) == 2
        self._rows = Rows(spec.inputs)

    def read_json(self, request: Request) -> Asked:
        """An object with one of the forms by its name, or with each input by its name."""
        body = bytes(request.body)
        if not any(mark in body for mark in _MARKS):
            return self._named.read(request)
        fields = parse_json(body)
        if not isinstance(fields, dict) or self._names & set(fields) or not _FORMS & set(fields):
            return self._asked(read_inputs(self._spec.inputs, fields), None)
        form, value = _only_form(fields)
        if form == "inputs":
            return self._asked(self._by_column(value), self.write_columns)
        read = self._by_split if form == "dataframe_split" else self._by_row
        return self._asked(read(value, form), self.write_rows)

    def read_csv(self, request: Request) -> Asked:
        """A sample in each line. Raises `UnsupportedMedia` where the signature is not for tables."""
        tensor = self._table()
        rows = parse_csv(tensor, bytes(request.body))
        return self._asked(read_inputs(self._spec.inputs, {tensor.name: rows}), self.write_columns)

    def write_rows(self, asked: Asked, outputs: Mapping[str, Value]) -> Response:
        """``{"predictions": [...]}``: an entry per sample; an object where there are several outputs."""
        plain = {name: plain_value(value) for name, value in outputs.items()}
        if len(plain) == 1:
            return Response(200, write_answer({"predictions": next(iter(plain.values()))}))
        rows = asked.rows or _most(plain.values())
        told = [{name: _entry(value, row, rows) for name, value in plain.items()} for row in range(rows)]
        return Response(200, write_answer({"predictions": told}))

    def write_columns(self, asked: Asked, outputs: Mapping[str, Value]) -> Response:
        """``{"predictions": ...}``: the one output, or an object with each."""
        values = {name: self._as_asked(asked, value, name) for name, value in outputs.items()}
        told = next(iter(values.values())) if len(values) == 1 else values
        return Response(200, write_answer({"predictions": told}))

    def write_csv(self, asked: Asked, outputs: Mapping[str, Value]) -> Response:
        """A line per sample, with the entries of each output one after the other."""
        arrays = [as_tensor(value) for value in outputs.values()]
        rows = asked.rows or max((len(array) for array in arrays if array.ndim), default=1)
        columns = [_cells(array, rows) for array in arrays if array.ndim and len(array) == rows]
        import csv

        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerows([cell for column in columns for cell in column[row]] for row in range(rows))
        return Response(200, text.getvalue().encode(), f"{CSV}; charset=utf-8")

    def _asked(self, inputs: Inputs, writer: Any) -> Asked:
        return Asked(inputs.arrays, self._rows(inputs.arrays), inputs.single, writer)

    def _by_row(self, rows: object, form: str) -> Inputs:
        if not isinstance(rows, list) or not rows:
            raise BadInput(f'"{form}" must be a list of samples', expected="a list", got=_kind(rows))
        if form == "instances" and not isinstance(rows[0], dict):
            return self._by_column(rows)
        other = '; or "dataframe_split"' if self._is_matrix and form == "dataframe_records" else ""
        for index, row in enumerate(rows):
            if not isinstance(row, dict) or set(row) != self._names:
                raise BadInput(
                    f'"{form}" at [{index}] must be an object with each input',
                    expected=f"an object with {', '.join(sorted(self._names))}{other}",
                    got=shortened(", ".join(row)) if isinstance(row, dict) else _kind(row),
                )
        columns = {name: [row[name] for row in rows] for name in self._names}
        return read_inputs(self._spec.inputs, columns)

    def _by_split(self, table: object, form: str) -> Inputs:
        """``{"columns": [...], "data": [[...]]}``: inputs by their names, or the rows of the one matrix."""
        columns, rows = _split(table, form)
        one = self._spec.inputs[0]
        if self._is_matrix and not (columns == [one.name] and isinstance(rows[0][0], list)):
            return read_inputs(self._spec.inputs, {one.name: rows})
        if columns is None or len(columns) != len(self._names) or set(columns) != self._names:
            names = ", ".join(tensor.name for tensor in self._spec.inputs)
            got = "no columns" if columns is None else ", ".join(columns)
            raise BadInput(f'"{form}" must have a column for each input', expected=names, got=shortened(got))
        named = {name: [row[at] for row in rows] for at, name in enumerate(columns)}
        return read_inputs(self._spec.inputs, named)

    def _by_column(self, columns: object) -> Inputs:
        if isinstance(columns, dict):
            return read_inputs(self._spec.inputs, columns)
        if len(self._names) != 1:
            names = ", ".join(tensor.name for tensor in self._spec.inputs)
            raise BadInput(
                f"there are {len(self._names)} inputs: each needs its name",
                expected=f"an object with {names}",
                got=_kind(columns),
            )
        return read_inputs(self._spec.inputs, {self._spec.inputs[0].name: columns})

    def _table(self) -> TensorSpec:
        tensor = self._spec.inputs[0]
        numeric = tensor.dtype not in ("string", "bool")
        if not self._is_matrix or not numeric:
            raise UnsupportedMedia(
                "CSV is for services with one input of two dimensions and numbers", expected="JSON", got=CSV
            )
        return tensor


def _only_form(fields: Mapping[str, Any]) -> tuple[str, Any]:
    """The form and its value. Raises `BadInput` where something is beside it: parameters, a signature."""
    form = min(_FORMS & set(fields))
    if beside := sorted(set(fields) - {form}):
        raise BadInput(
            f'"{form}" goes alone',
            field=beside[0],
            expected=f'an object with "{form}" and nothing else',
            got=shortened(", ".join(beside)),
        )
    return form, fields[form]


def _split(table: object, form: str) -> tuple[list[str] | None, list[list[Any]]]:
    """Columns and rows of a table as pandas writes it; its index tells the model nothing."""
    if not isinstance(table, dict) or not {"data"} <= set(table) <= {"columns", "index", "data"}:
        raise BadInput(f'"{form}" must be a table', expected="columns and data", got=_kind(table))
    columns, rows = table.get("columns"), table["data"]
    if columns is not None and not (
        isinstance(columns, list) and all(isinstance(name, str) for name in columns)
    ):
        raise BadInput(f'"columns" of "{form}" must be names', expected="a list of texts", got=_kind(columns))
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) and row for row in rows):
        raise BadInput(f'"data" of "{form}" must be rows', expected="a list of lists", got=_kind(rows))
    width = len(rows[0] if columns is None else columns)
    for index, row in enumerate(rows):
        if len(row) != width:
            raise BadInput(
                f'"data" of "{form}" has another number of entries at [{index}]',
                expected=f"{width} in each row",
                got=str(len(row)),
            )
    return columns, rows


def parse_csv(tensor: TensorSpec, body: bytes) -> list[list[Any]]:
    """The numbers in lines of CSV; None for what is missing, if the input allows it. Raises `BadInput`."""
    check_memory(body)
    whole = "int" in tensor.dtype
    pattern = _WHOLE if whole else (_GAPS if tensor.nan else _NUMBERS)
    number = int if whole else (_number_or_gap if tensor.nan else float)
    rows: list[list[Any]] = []
    for index, line in enumerate(body.rstrip().split(b"\n") if body.strip() else []):
        try:
            if pattern.fullmatch(line) is None:
                raise _bad_line(tensor, index, line)
            rows.append(list(map(number, line.split(b","))))
        except ValueError:
            raise _bad_line(tensor, index, line) from None
    return rows


def _number_or_gap(cell: bytes) -> float | None:
    text = cell.strip()
    return None if text.lower() in (b"", b"nan") else float(text)


def _cells(array: Array, rows: int) -> list[list[Any]]:
    """An output as a table; numbers with the fewest digits that tell them from others of their type."""
    table = array.reshape(rows, -1)
    return (table.astype(str) if array.dtype.kind == "f" else table).tolist()


def _bad_line(tensor: TensorSpec, index: int, line: bytes) -> BadInput:
    told = "whole numbers" if "int" in tensor.dtype else "numbers"
    return BadInput(
        f"line {index + 1} of the CSV holds what is not {told}",
        field=tensor.name,
        expected=str(tensor) if index else f"{tensor}, no header",
        got=ascii(line[:40].decode(errors="replace")),
    )


def _most(values: Any) -> int:
    return max((len(value) for value in values if isinstance(value, list)), default=1)


def _entry(value: object, row: int, rows: int) -> object:
    """A sample's part of an output; all of an output that has no part for each."""
    return value[row] if isinstance(value, list) and len(value) == rows else value


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", type(None): "nothing"}
    return names.get(type(value), f"{type(value).__name__}")
