"""What every value of a replay's `results.json` may be; people edit such files."""

from __future__ import annotations

from collections.abc import Mapping

from semla_ros.core.answers import SUPPORT_LEVELS
from semla_ros.core.files.checks import (
    Check,
    boolean,
    integer,
    items,
    mapping,
    number,
    one_of,
    or_none,
    table,
    unfit,
)

_MOST = 10**9
_STAMP = integer(-(2**63), 2**63 - 1)
_NUMBER, _TIME_MS = number(-1e300, 1e300), number(0, 1e12)


def _string(value: object, path: str) -> None:
    if not isinstance(value, str):
        raise unfit(path, "text", value)


def _timings(value: object, path: str) -> None:
    mapping(_string, _TIME_MS)(value, path)
    if not isinstance(value, Mapping) or not value.keys() & {"step", "latency"}:
        raise unfit(path, "a duration 'step' or 'latency'", value)


def _free(value: object, path: str) -> None:
    if not isinstance(value, Mapping):
        raise unfit(path, "entries", value)


_MIX: Check = mapping(_string, number(0, 1))
_SUPPORT = table(
    {
        **dict.fromkeys(("score", "smoothed", "nearest_distance"), or_none(_NUMBER)),
        "nearest": _string,
        "level": one_of(*SUPPORT_LEVELS),
        "observed_ns": _STAMP,
    },
    dict.fromkeys(("novelty", "expected_miou", "miou_lower", "age_s"), or_none(_NUMBER)),
)
_SWAP = table(
    {
        "stamp_ns": _STAMP,
        "from_mix": _MIX,
        "to_mix": _MIX,
        "reason": _string,
        "committed": boolean,
    },
    {
        "error": _string,
        "origin": _string,
        **dict.fromkeys(
            ("detection_ms", "fuse_ms", "load_ms", "stall_ms", "deviation", "ready_ms"),
            or_none(_NUMBER),
        ),
    },
)
check_result = table(
    {
        "info": table(
            {"source": _string},
            {
                **dict.fromkeys(("topic", "bundle", "engine", "engine_reason"), _string),
                "classes": items(_string, 0, 65_535),
                "parameters": _free,
                "versions": _free,
                "support_low": _NUMBER,
            },
        ),
        "frames": items(
            table(
                {
                    "index": integer(0, _MOST),
                    "stamp_ns": _STAMP,
                    "frame_id": _string,
                    "mix": _MIX,
                    "support": or_none(_SUPPORT),
                    "timings_ms": _timings,
                    "mask_crc32": integer(0, 2**32 - 1),
                },
                others=True,
            ),
            0,
            _MOST,
        ),
        "skipped": items(
            table({"index": integer(0, _MOST), "stamp_ns": _STAMP, "reason": _string}), 0, _MOST
        ),
        "swaps": items(_SWAP, 0, _MOST),
        "notes": items(_string, 0, _MOST),
        "summary": table({"ended_early": _string}, others=True),
    },
    others=True,
)
"""Raises ValueError where a value of a result has the wrong type or lies out of range."""
