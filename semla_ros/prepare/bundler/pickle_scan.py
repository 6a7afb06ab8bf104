"""What a pickled checkpoint would build, found without building it.

The restricted unpickler runs no foreign code, yet a few hundred bytes make it reserve gigabytes:
storages and arrays as large as a number in the file says, tuples of tuples whose hash takes
years. So the pickle is walked by hand first: only what plain weights need is known, and each size
is held against what the file holds.

Source: the opcodes of `pickletools`; `torch._weights_only_unpickler`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from mmap import mmap
from typing import IO, Any

from semla_ros.prepare.bundler.pickle_calls import (
    PLAIN,
    Made,
    Name,
    Storage,
    allowed,
    built,
    called,
    storage_of,
)

MAX_OPERATIONS = 1_000_000

StorageCheck = Callable[[Storage], None]
"""Raises what it has against a storage's size."""


def scan(stream: IO[bytes] | mmap, check: StorageCheck) -> object:
    """Walk one pickle and return its value, in which `Made` stands for what would be made.

    Args:
        stream: At the beginning of the pickle; afterwards behind its end.
        check: Called with each storage that is named.

    Raises:
        RefusedError: It asks for what weights do not need.
        ValueError: It is damaged.
    """
    machine = _Machine(check)
    try:
        source: Any = stream
        for count, (opcode, argument, _) in enumerate(pickletools.genops(source)):
            if count > MAX_OPERATIONS:
                raise ValueError(f"more than {MAX_OPERATIONS} operations")
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"damaged pickle ({error})") from error


class _Machine:
    """Stack and memory of the pickle's machine."""

    def __init__(self, check: StorageCheck) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._check = check

    def step(self, name: str, argument: Any) -> None:  # noqa: ANN401  as pickletools gives it
        """Do one operation."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _VALUES:
            self.stack.append(argument)
        elif name in _TUPLES:
            at = len(self.stack) - _TUPLES[name]
            items = tuple(self.stack[max(0, at) :])
            del self.stack[at:]
            self.stack.append(items)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self._memo[argument])
        elif name == "GLOBAL":
            self.stack.append(Name(allowed(argument.replace(" ", "."))))
        elif name in _METHODS:
            _METHODS[name](self)
        elif name not in ("PROTO", "STOP"):
            raise ValueError(f"operation {name}")

    def mark(self) -> None:
        """MARK."""
        self._below.append(self.stack)
        self.stack = []

    def _marked(self) -> list[Any]:
        items, self.stack = self.stack, self._below.pop()
        return items

    def tuple(self) -> None:
        """TUPLE."""
        items = tuple(self._marked())
        self.stack.append(items)

    def append(self) -> None:
        """APPEND."""
        value = self.stack.pop()
        self.stack[-1].append(value)

    def appends(self) -> None:
        """APPENDS."""
        items = self._marked()
        self.stack[-1].extend(items)

    def setitem(self) -> None:
        """SETITEM."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set(key, value)

    def setitems(self) -> None:
        """SETITEMS."""
        items = self._marked()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(key, value)

    def _set(self, key: Any, value: Any) -> None:  # noqa: ANN401
        if not isinstance(key, PLAIN):
            raise TypeError(f"expected plain keys, got {type(key).__name__}")
        self.stack[-1][key] = value

    def reduce(self) -> None:
        """REDUCE."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise TypeError("a call of what is no function")
        self.stack.append(called(function.name, arguments))

    def build(self) -> None:
        """BUILD."""
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, Made):
            built(made, state)
        elif not isinstance(made, dict) or not isinstance(state, dict):
            raise TypeError(f"a state for {type(made).__name__}")

    def storage(self) -> None:
        """BINPERSID."""
        storage = storage_of(self.stack.pop())
        self._check(storage)
        self.stack.append(storage)


_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_VALUES = frozenset(
    ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING")
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_METHODS: Mapping[str, Callable[[_Machine], None]] = {
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.setitem,
    "SETITEMS": _Machine.setitems,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.storage,
}
