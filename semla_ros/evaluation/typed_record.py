"""Records that came out of a file, held against the types that they declare."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

_T = TypeVar("_T")


def typed(record: _T) -> _T:
    """Return a dataclass whose fields hold what they declare; a file may give them anything.

    Raises:
        TypeError: One holds something else.
    """
    kind: Any = type(record)
    for name, kinds in _kinds(kind).items():
        value = getattr(record, name)
        if isinstance(value, kinds) and isinstance(value, bool) <= (bool in kinds):
            continue
        expected = " or ".join(each.__name__ for each in kinds)
        raise TypeError(f"{name!r}: expected {expected}, got {type(value).__name__}")
    return record


@functools.cache
def _kinds(record: type[Any]) -> Mapping[str, tuple[type, ...]]:
    """Return field -> types that it may have."""
    hints = typing.get_type_hints(record)
    return {field.name: _classes(hints[field.name]) for field in fields(record)}


def _classes(hint: Any) -> tuple[type, ...]:  # noqa: ANN401  any annotation
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(kind for each in typing.get_args(hint) for kind in _classes(each))
    kind = typing.get_origin(hint) or hint
    return (float, int) if kind is float else (kind,)
