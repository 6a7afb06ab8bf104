"""Counts what goes wrong without stopping the stream; logs the first of each streak and kind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from semla_ros.core.errors import SemlaError
from semla_ros.core.streaks import Streaks

_T = TypeVar("_T")

_LOG = logging.getLogger(__name__)


class FaultCounter:
    """Failures per stage. One writing thread; reading is allowed from any."""

    def __init__(self) -> None:
        """Start with none."""
        self._counts: dict[str, int] = {}
        self._failing: dict[str, str] = {}
        self._streaks = Streaks()

    @property
    def counts(self) -> Mapping[str, int]:
        """Stage -> how often it failed."""
        return dict(self._counts)

    @property
    def failing(self) -> Mapping[str, str]:
        """Stage -> why its newest attempt failed; stages that work are not in it."""
        return dict(self._failing)

    def count(self, stage: str) -> None:
        """Count a failure that is reported elsewhere."""
        self._counts[stage] = self._counts.get(stage, 0) + 1

    def note(self, stage: str, error: object) -> None:
        """Count a failure of `stage`; log it if it begins a streak of its kind."""
        self.count(stage)
        if self._streaks.begins(stage, error):
            _LOG.error("%s failed, masks go on: %s", stage, error)
        self._failing[stage] = str(error)

    def succeeded(self, stage: str) -> None:
        """Say that `stage` works."""
        self._failing.pop(stage, None)

    def attempt(self, stage: str, call: Callable[[], _T]) -> _T | None:
        """Return what `call` returns, None where it raises a SemlaError, which is counted."""
        try:
            value = call()
        except SemlaError as error:
            self.note(stage, error)
            return None
        self.succeeded(stage)
        return value
