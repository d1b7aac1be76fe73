"""Walks through a pickle without doing what it says, and notes everything that it would import.

A pickle is a program for a stack machine. This one keeps the stack with the values that matter for names
(text, numbers, tuples, dictionaries of them) and with placeholders for all else, so that a name that was put
together in a roundabout way is still seen. It follows joblib's files across the raw arrays in them.
"""

from __future__ import annotations

import math
import pickletools
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

ARRAY = ("joblib.numpy_pickle", "NumpyArrayWrapper")
"""joblib writes the bytes of an array, outside of the pickle, behind the state of such an object."""
UNKNOWN_NAME = ("?", "?")
"""An import whose name is made while the pickle is loaded."""
_MOST_NAMES = 10_000


class Malformed(ValueError):
    """No pickle, or one that breaks off."""


class _Placeholder:
    """A value of which nothing is known."""


PLACEHOLDER = _Placeholder()


@dataclass(frozen=True)
class Named:
    """Something that was imported."""

    module: str
    name: str


@dataclass(frozen=True)
class Made:
    """What an imported thing gave when it was called."""

    by: object
    arguments: object


class _Readable:
    """A stream without a position: not all that is unpacked on the way has one."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read, self.readline = stream.read, stream.readline


class Machine:
    """One pickle of a stream, up to its end. ``found`` are the imports, ``steps`` how far it came."""

    def __init__(self, stream: BinaryIO, found: set[tuple[str, str]]) -> None:
        self.stream, self.found, self.steps = stream, found, 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> None:
        """Walk to the end. Raises `Malformed`."""
        try:
            for opcode, argument, _ in pickletools.genops(cast("BinaryIO", _Readable(self.stream))):
                self._step(opcode, argument)
                self.steps += 1
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeError) as error:
            raise Malformed(str(error)) from error

    def _step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        if opcode.name in _SPECIAL:
            getattr(self, _SPECIAL[opcode.name])(argument)
            return
        if opcode.name in _TUPLES:
            self._tuple(_TUPLES[opcode.name])
            return
        self._pop(opcode)
        for _ in opcode.stack_after:
            self._stack.append(_value(opcode, argument))

    def _pop(self, opcode: pickletools.OpcodeInfo) -> None:
        count = len(opcode.stack_before)
        if pickletools.markobject in opcode.stack_before:
            self._to_mark()
            count = opcode.stack_before.index(pickletools.markobject)
        for _ in range(count):
            self._stack.pop()

    def _to_mark(self) -> list[Any]:
        """What lies above the topmost mark; that, and the mark, are taken away."""
        above: list[Any] = []
        while (top := self._stack.pop()) is not pickletools.markobject:
            above.append(top)
        return above[::-1]

    def _import(self, module: object, name: object) -> None:
        known = isinstance(module, str) and isinstance(name, str)
        named = (str(module), str(name)) if known else UNKNOWN_NAME
        if len(self.found) >= _MOST_NAMES:
            raise Malformed("it imports more than any model does")
        self.found.add(named)
        self._stack.append(Named(*named))

    def _global(self, argument: str) -> None:
        self._import(*argument.split(" ", 1))

    def _inst(self, argument: str) -> None:
        self._to_mark()
        self._global(argument)
        self._stack[-1] = Made(self._stack[-1], PLACEHOLDER)

    def _stack_global(self, _: object) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._import(module, name)

    def _put(self, argument: int) -> None:
        self._memo[int(argument)] = self._stack[-1]

    def _memoize(self, _: object) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, argument: int) -> None:
        self._stack.append(self._memo[int(argument)])

    def _dup(self, _: object) -> None:
        self._stack.append(self._stack[-1])

    def _pop_one(self, _: object) -> None:
        self._stack.pop()

    def _marked_tuple(self, _: object) -> None:
        self._stack.append(tuple(self._to_mark()))

    def _tuple(self, count: int) -> None:
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def _set_item(self, _: object) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set(key, value)

    def _set_items(self, _: object) -> None:
        above = self._to_mark()
        for key, value in zip(above[::2], above[1::2], strict=False):
            self._set(key, value)

    def _set(self, key: object, value: object) -> None:
        if isinstance(self._stack[-1], dict) and isinstance(key, str):
            self._stack[-1][key] = value

    def _call(self, _: object) -> None:
        arguments, by = self._stack.pop(), self._stack.pop()
        self._stack.append(Made(by, arguments))

    def _build(self, _: object) -> None:
        state, made = self._stack.pop(), self._stack[-1]
        if isinstance(made, Made) and made.by == Named(*ARRAY):
            self._skip_array(state)
            self._stack[-1] = PLACEHOLDER

    def _skip_array(self, state: Any) -> None:
        """Read past the array that follows here, as joblib does; one of objects is a pickle of its own."""
        kind = _kind_of(state["dtype"])
        if kind is None:
            Machine(self.stream, self.found).run()
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            padding = self.stream.read(1)
            self._skip(padding[0])
        self._skip(math.prod(int(size) for size in state["shape"]) * kind)

    def _skip(self, count: int) -> None:
        while count > 0:
            piece = self.stream.read(min(count, 1 << 20))
            if not piece:
                raise Malformed("an array in it breaks off")
            count -= len(piece)


def _kind_of(dtype: object) -> int | None:
    """Bytes of each element; None for an array of objects. Raises ValueError for what is no plain type."""
    if not isinstance(dtype, Made) or dtype.by != Named("numpy", "dtype"):
        raise Malformed("an array in it has a type of its own")
    arguments = dtype.arguments
    if not isinstance(arguments, tuple) or not isinstance(arguments[0], str):
        raise Malformed("an array in it has no type")
    if arguments[0].startswith("O"):
        return None
    import numpy as np

    return int(np.dtype(arguments[0]).itemsize)


def _value(opcode: pickletools.OpcodeInfo, argument: Any) -> Any:
    if opcode.name == "MARK":
        return pickletools.markobject
    if opcode.name == "EMPTY_DICT":
        return {}
    if opcode.name in _CONSTANTS:
        return _CONSTANTS[opcode.name]
    return argument if opcode.name in _LITERALS else PLACEHOLDER


_CONSTANTS: dict[str, object] = {"EMPTY_TUPLE": (), "NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("STRING", "SHORT_BINSTRING", "BINSTRING"),
    }
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_SPECIAL = {
    "GLOBAL": "_global",
    "INST": "_inst",
    "STACK_GLOBAL": "_stack_global",
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), "_put"),
    "MEMOIZE": "_memoize",
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), "_get"),
    "DUP": "_dup",
    "POP": "_pop_one",
    "TUPLE": "_marked_tuple",
    "SETITEM": "_set_item",
    "SETITEMS": "_set_items",
    **dict.fromkeys(("REDUCE", "NEWOBJ"), "_call"),
    "BUILD": "_build",
}
"""Operations that need more than taking from the stack and putting placeholders on it: the methods."""
