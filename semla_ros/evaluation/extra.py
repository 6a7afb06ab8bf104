"""The libraries of the extra `evaluate`, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from semla_ros.core.errors import EvaluationError


class MissingExtraError(EvaluationError):
    """A library of the extra `evaluate` is not installed; everything else goes on without."""


def evaluate_extra(module: str) -> Any:  # noqa: ANN401  a module
    """Return an imported module of scikit-learn or matplotlib.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"expected {module.partition('.')[0]!r} for calibration and plots, got {error}: "
            "pip install '.[evaluate]'"
        ) from error
