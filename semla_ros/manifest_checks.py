"""What every value of `bundle.yaml` may be: one table, walked before anything is made of it.

A check takes a value and the path of its key, and raises ValueError where the value does not fit;
tables and lists are checks made of checks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from semla_ros.config import PARAMETERS
from semla_ros.types import MAX_CLASSES

Check = Callable[[object, str], None]

RESIZES = ("center_crop", "eval_crop", "letterbox")
"""How a navigator may squash its image, see `navigator.preprocess`."""
GUIDANCES = ("as_base", "as_trained")
FAMILIES = ("catseg",)
GRAPHS = ("segmentation", "text")
MAX_NAME_BYTES = 255
"""As file systems have it: names end up in file names."""
MAX_SIDE, MAX_CONTEXT, MAX_DIM, MAX_NUMBER = 8192, 4096, 65_536, 1_000_000
MAX_LAYERS = 100_000

_SHOWN = 60
_DIGEST = re.compile(r"[0-9a-f]{64}")


def text(value: object, path: str, *, max_bytes: int = MAX_NAME_BYTES) -> None:
    """Accept text that can be printed on one line, neither empty nor long."""
    if not isinstance(value, str) or not value.strip():
        raise _unfit(path, "text", value)
    if not value.isprintable() or len(value.encode()) > max_bytes:
        raise _unfit(path, f"printable text of at most {max_bytes} bytes", value)


def template(value: object, path: str) -> None:
    """Accept a prompt with one `{}`."""
    text(value, path, max_bytes=4 * MAX_NAME_BYTES)
    if str(value).count("{}") != 1:
        raise _unfit(path, "text with one '{}'", value)


def digest(value: object, path: str) -> None:
    """Accept a sha256 in hexadecimal."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise _unfit(path, "a sha256 of 64 hexadecimal digits", value)


def boolean(value: object, path: str) -> None:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise _unfit(path, "true or false", value)


def integer(low: int, high: int) -> Check:
    """Return a check for whole numbers in [low, high]; a bool is none."""

    def check(value: object, path: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise _unfit(path, f"a whole number from {low} to {high}", value)

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
            raise _unfit(path, f"a number {left} {low:g} to {high:g}", value)

    return check


def one_of(*choices: str) -> Check:
    """Return a check for one of some words."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, str) or value not in choices:
            raise _unfit(path, f"one of {', '.join(choices)}", value)

    return check


def items(check: Check, low: int, high: int, *, distinct: str = "") -> Check:
    """Return a check for lists of `low` to `high` items; `distinct` names a key never repeated."""

    def each(value: object, path: str) -> None:
        if not isinstance(value, list) or not low <= len(value) <= high:
            count = str(low) if low == high else f"{low} to {high}"
            raise _unfit(path, f"a list of {count} items", value)
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
            raise _unfit(path, f"entries {', '.join(known)}", value)
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
            raise _unfit(path, "entries", value)
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


def calibration(value: object, path: str) -> None:
    """Accept a calibration; one of an earlier form is left aside later, so its values are free."""
    if not isinstance(value, Mapping) or "support" not in value:
        _CALIBRATION(value, path)


def classes(value: object, path: str) -> None:
    """Accept a class list, its ids in order where they are given."""
    _CLASSES(value, path)
    for index, each in enumerate(value):  # type: ignore[arg-type]  a list by now
        if each.get("id", index) != index:
            raise _unfit(f"{path}[{index}].id", f"{index}, as the list's order says", each["id"])


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _unfit(path: str, expected: str, got: object) -> ValueError:
    shown = repr(got)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return ValueError(f"{path}: expected {expected}, got {shown}")


def _choices(parameter: str) -> Check:
    return one_of(*(c for c in PARAMETERS[parameter].choices if c != "bundle"))


_ANY = number(-MAX_NUMBER, MAX_NUMBER)
_POSITIVE = number(0, MAX_NUMBER, above=True)
_SHARE, _SHARE_OR_NAN = number(0, 1), number(0, 1, unknown=True)
_RETRIEVAL: Mapping[str, Check] = MappingProxyType(
    {
        "temperature": _POSITIVE,
        "top_k": integer(1, 1000),
        "distance": _choices("distance"),
        "similarity": _choices("similarity"),
        "null_distance": number(-1, MAX_NUMBER),
    }
)
_CALIBRATION = table(
    {
        "terms": items(
            table(
                {"name": text, "scale": _POSITIVE}
                | dict.fromkeys(("mean", "coefficient", "low", "high"), _ANY)
            ),
            1,
            100,
        ),
        "intercept": _ANY,
        "offset": number(0, MAX_NUMBER),
        "target": _SHARE,
        "coverage": _SHARE_OR_NAN,
        "worst_coverage": _SHARE_OR_NAN,
        "error": _SHARE_OR_NAN,
        "errors": mapping(text, _SHARE_OR_NAN),
        "frames": integer(0, 10**12),
        "domains": items(text, 0, MAX_LAYERS),
        "settings": table(_RETRIEVAL),
        "made_by": text,
    }
)
_CLASSES = items(
    table(
        {"name": text, "rgb": items(integer(0, 255), 3, 3)},
        {"id": integer(0, MAX_CLASSES - 1)},
        others=True,
    ),
    1,
    MAX_CLASSES,
)
check_manifest = table(
    {
        "name": text,
        "family": one_of(*FAMILIES),
        "base_model": text,
        "segmentation": table(
            {"size": integer(1, MAX_SIDE)},
            {
                "crop_size": integer(0, MAX_SIDE),
                "max_classes": integer(1, MAX_CLASSES),
                "class_pooling": integer(1, MAX_SIDE),
            },
        ),
        "text": table({"template": template, "context_length": integer(1, MAX_CONTEXT)}),
        "defaults": table(
            {
                **_RETRIEVAL,
                "support_low": number(0, MAX_NUMBER),
                "out_of_library": number(0, MAX_NUMBER),
            }
        ),
        "classes": classes,
        "layers": items(
            table(
                {
                    "name": text,
                    "parameter": text,
                    "graph": one_of(*GRAPHS),
                    "initializer": text,
                    "transposed": boolean,
                    "shape": items(integer(1, MAX_NUMBER), 2, 2),
                }
            ),
            1,
            MAX_LAYERS,
            distinct="name",
        ),
        "files": mapping(text, digest),
    },
    {
        "adapter_guidance": one_of(*GUIDANCES),
        "calibration": or_none(calibration),
        "navigator": or_none(
            table(
                {
                    "identity": text,
                    "size": integer(1, MAX_SIDE),
                    "resize": one_of(*RESIZES),
                    "mean": items(_ANY, 3, 3),
                    "std": items(_POSITIVE, 3, 3),
                    "dim": integer(1, MAX_DIM),
                }
            )
        ),
    },
    others=True,
)
"""Raises ValueError where a value of a manifest has the wrong type or lies out of range."""
