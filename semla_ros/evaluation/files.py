"""Files of results: JSON, CSV and text that appear when they are whole; typed data out of JSON."""

from __future__ import annotations

import json
import math
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from semla_ros.core.errors import EvaluationError
from semla_ros.core.files import whole_file
from semla_ros.core.files.checks import boolean, integer, number, unfit
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.shown import utf8
from semla_ros.core.types import AdapterMix

_T = TypeVar("_T")
_WHOLE = integer(-(2**63), 2**63 - 1)
_NUMBER = number(-sys.float_info.max, sys.float_info.max)


def write_file(path: Path, content: bytes | str) -> Path:
    """Write `path` in one step, text as UTF-8.

    Raises:
        EvaluationError: It cannot be written.
    """
    data = utf8(content) if isinstance(content, str) else content
    return whole_file.write_file(path, data, error=EvaluationError)


def json_text(value: object) -> str:
    """Return data as JSON for people and tools, see `plain`."""
    return json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path, *, what: str, max_bytes: int) -> Any:  # noqa: ANN401  any JSON
    """Return what a JSON file of at most `max_bytes` holds.

    Raises:
        EvaluationError: It cannot be read; the message calls it `what`.
    """
    where = f"cannot read {what} from {str(path)!r}"
    try:
        size = path.stat().st_size
        if size <= max_bytes:
            return from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{where}: {error}") from error
    raise EvaluationError(f"{where}: expected at most {max_bytes} bytes, got {size}")


def plain(value: Any) -> Any:  # noqa: ANN401  any data
    """Return dataclasses as mappings, mixes by adapter, and what is not finite as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, AdapterMix):
        return dict(zip(value.names, value.weights, strict=True))
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(v) for v in value]
    return value


def typed(kind: type[_T], value: object, path: str = "") -> _T:
    """Return what `plain` made of a `kind`; people edit such files, so every value is checked.

    Args:
        kind: A dataclass, mix, tuple, mapping, `str`, `bool`, `int`, `float` or `X | None`. Keys
            that a dataclass does not know are left out: older results hold some.
        value: Of JSON.
        path: Where it stands, for errors.

    Raises:
        ValueError: It does not fit; the message says where, what was expected, and what was there.
        SemlaError: From the checks of a dataclass.
    """
    return cast(_T, _typed(kind, value, path))


def _typed(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401
    arguments = get_args(kind)
    if get_origin(kind) in (types.UnionType, Union):
        return None if value is None else _typed(arguments[0], value, path)
    if kind is float and value is None:
        return math.nan
    if kind in _LEAVES:
        _LEAVES[kind](value, path)
        return kind(value)
    if get_origin(kind) is tuple:
        many = len(arguments) if arguments[-1] is not Ellipsis else None
        if not isinstance(value, list) or many not in (None, len(value)):
            raise unfit(path, f"a list of {many} items" if many else "a list", value)
        return tuple(_typed(arguments[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    if not isinstance(value, Mapping):
        raise unfit(path, "entries", value)
    if kind is AdapterMix:
        weights = [_typed(float, v, f"{path}.{n}") for n, v in value.items()]
        return AdapterMix(tuple(value), tuple(weights))
    if is_dataclass(kind):
        return _dataclass(kind, value, path)
    of = arguments[1] if arguments else Any
    return {n: v if of is Any else _typed(of, v, f"{path}.{n}") for n, v in value.items()}


def _dataclass(kind: Any, value: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401
    found = {}
    for name, (each, required) in _fields(kind).items():
        place = f"{path}.{name}" if path else name
        if name in value:
            found[name] = _typed(each, value[name], place)
        elif required:
            raise ValueError(f"{place}: expected a value, got none")
    return kind(**found)


@cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:  # noqa: ANN401
    """Return name -> type and whether it must be there, of the fields of a dataclass."""
    hints = get_type_hints(kind)
    return {
        f.name: (hints[f.name], f.default is MISSING and f.default_factory is MISSING)
        for f in fields(kind)
    }


def _text(value: object, path: str) -> None:
    if not isinstance(value, str):
        raise unfit(path, "text", value)


_LEAVES: Mapping[type, Any] = {str: _text, bool: boolean, int: _WHOLE, float: _NUMBER}
