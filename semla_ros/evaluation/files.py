"""Files of results: JSON, CSV and text that appear when they are whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semla_ros.core.errors import EvaluationError
from semla_ros.core.files import whole_file
from semla_ros.core.shown import utf8


def write_file(path: Path, content: bytes | str) -> Path:
    """Write `path` in one step, text as UTF-8.

    Raises:
        EvaluationError: It cannot be written.
    """
    data = utf8(content) if isinstance(content, str) else content
    return whole_file.write_file(path, data, error=EvaluationError)


def json_text(value: object) -> str:
    """Return plain data as JSON for people and tools; what is not finite is null."""
    return json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def finite(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """Return `value` with NaN and infinities as None; JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(v) for v in value]
    return value
