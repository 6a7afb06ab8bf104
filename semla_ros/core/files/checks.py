"""Checks of plain data that people may have edited, made of checks: type, range, known keys.

A check takes a value and the path of its key, and raises ValueError where the value does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

Check = Callable[[object, str], None]

MAX_NAME_BYTES = 255
"""As file systems have it: names end up in file names."""

_SHOWN = 60


def text(value: object, path: str, *, max_bytes: int = MAX_NAME_BYTES) -> None:
    """Accept text that can be printed on one line, neither empty nor long."""
    if not isinstance(value, str) or not value.strip():
        raise unfit(path, "text", value)
    if not value.isprintable() or len(value.encode()) > max_bytes:
        raise unfit(path, f"printable text of at most {max_bytes} bytes", value)


def boolean(value: object, path: str) -> None:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise unfit(path, "true or false", value)


def integer(low: int, high: int) -> Check:
    """Return a check for whole numbers in [low, high]; a bool is none."""

    def check(value: object, path: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise unfit(path, f"a whole number from {low} to {high}", value)

    return check


def number(low: float, high: float, *, above: bool = False, unknown: bool = False) -> Check:
    """Return a check for finite numbers in [low, high].

    Args:
        low: Lowest number.
        high: Highest number.
        above: `low` itself does not pass.
        unknown: NaN passes, for figures that could not be measured.
    """
    left = "above" if above else "from"

    def check(value: object, path: str) -> None:
        known = type(value) in (int, float)
        if known and unknown and isinstance(value, float) and math.isnan(value):
            return
        fits = known and low <= value <= high  # type: ignore[operator]
        if not fits or (above and value == low):
            raise unfit(path, f"a number {left} {low:g} to {high:g}", value)

    return check


def one_of(*choices: str) -> Check:
    """Return a check for one of some words."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, str) or value not in choices:
            raise unfit(path, f"one of {', '.join(choices)}", value)

    return check


def items(check: Check, low: int, high: int, *, distinct: str = "") -> Check:
    """Return a check for lists of `low` to `high` items; `distinct` names a key never repeated."""

    def each(value: object, path: str) -> None:
        if not isinstance(value, list) or not low <= len(value) <= high:
            count = str(low) if low == high else f"{low} to {high}"
            raise unfit(path, f"a list of {count} items", value)
        for index, item in enumerate(value):
            check(item, f"{path}[{index}]")
        seen: set[object] = set()
        for item in value if distinct else ():
            if item[distinct] in seen:
                raise ValueError(f"{path}: expected each {distinct} once, got {item[distinct]!r}")
            seen.add(item[distinct])

    return each


def table(
    required: Mapping[str, Check],
    optional: Mapping[str, Check] | None = None,
    *,
    others: bool = False,
) -> Check:
    """Return a check for mappings with known keys; `others` may hold more."""
    known = {**required, **(optional or {})}

    def check(value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            raise unfit(path, f"entries {', '.join(known)}", value)
        missing = [key for key in required if key not in value]
        if missing:
            raise ValueError(f"{_join(path, missing[0])}: expected a value, got none")
        odd = [key for key in value if key not in known]
        if odd and not others:
            raise ValueError(f"{path}: expected entries {', '.join(known)}, got {odd[0]!r}")
        for key, each in known.items():
            if key in value:
                each(value[key], _join(path, key))

    return check


def mapping(key: Check, entry: Check) -> Check:
    """Return a check for mappings with free keys, at least one."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, Mapping) or not value:
            raise unfit(path, "entries", value)
        for name, each in value.items():
            key(name, f"{path}: name")
            entry(each, _join(path, name))

    return check


def or_none(check: Check) -> Check:
    """Return a check that lets nothing at all pass, too."""

    def each(value: object, path: str) -> None:
        if value is not None:
            check(value, path)

    return each


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def unfit(path: str, expected: str, got: object) -> ValueError:
    """Return the error of a value that is not what was `expected` at `path`."""
    shown = repr(got)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return ValueError(f"{path}: expected {expected}, got {shown}")
