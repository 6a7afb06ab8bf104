"""What a support score promises: the expected mIoU, and a bound that mIoU stays above."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from semla_ros.errors import ConfigError

MAX_KNOTS = 512


@dataclass(frozen=True, slots=True)
class SupportSettings:
    """The retrieval under which a support score means the same.

    Attributes:
        temperature, top_k, distance, similarity, null_distance: As in the configuration.
    """

    temperature: float
    top_k: int
    distance: str
    similarity: str
    null_distance: float


@dataclass(frozen=True, slots=True)
class SupportCalibration:
    """A non-decreasing map from smoothed support to frame mIoU, and how far below it mIoU falls.

    Attributes:
        support: (K,) knots, strictly ascending, K >= 1.
        expected: (K,) mIoU in [0, 1] at each knot, non-decreasing; linear between the knots and
            constant beyond them.
        offset: `expected` minus `offset` is the lower bound.
        target: Share of frames whose mIoU the bound is meant to stay below, e.g. 0.9.
        coverage: The share measured on domains that were held out, mean over them.
        worst_coverage: The same of the worst held-out domain.
        frames: Frames behind the map.
        domains: The domains they show.
        settings: The promise holds under these alone.
        made_by: The command.
    """

    support: tuple[float, ...]
    expected: tuple[float, ...]
    offset: float
    target: float
    coverage: float
    worst_coverage: float
    frames: int
    domains: tuple[str, ...]
    settings: SupportSettings
    made_by: str

    def __post_init__(self) -> None:
        knots, values = np.asarray(self.support), np.asarray(self.expected)
        if not 1 <= len(knots) <= MAX_KNOTS or knots.shape != values.shape:
            raise ConfigError(
                f"expected 1 to {MAX_KNOTS} knots and as many values, got {len(knots)} and "
                f"{len(values)}: calibrate again"
            )
        finite = np.isfinite(knots).all() and np.isfinite(values).all()
        if not finite or (np.diff(knots) <= 0).any() or (np.diff(values) < 0).any():
            raise ConfigError(
                "expected ascending knots with non-decreasing values, all finite, got "
                f"{self.support!r} and {self.expected!r}: calibrate again"
            )
        if values.min() < 0 or values.max() > 1 or not math.isfinite(self.offset):
            raise ConfigError(
                f"expected mIoU in 0..1 and a finite offset, got {self.expected!r} and "
                f"{self.offset!r}: calibrate again"
            )

    def expected_miou(self, support: float) -> float:
        """Return the mIoU to expect at a support score, in [0, 1]; NaN for NaN."""
        return float(np.interp(support, self.support, self.expected))

    def miou_lower(self, support: float) -> float:
        """Return the bound that mIoU is meant to stay above, in [0, 1]; NaN for NaN."""
        expected = self.expected_miou(support)
        return expected if math.isnan(expected) else min(max(expected - self.offset, 0.0), 1.0)


def calibration_from_dict(data: Mapping[str, Any]) -> SupportCalibration:
    """Return what a manifest's `calibration` says.

    Raises:
        LookupError, TypeError, ValueError, ConfigError: An entry is missing or malformed.
    """
    known = dict(data)
    for name in ("support", "expected"):
        known[name] = tuple(float(v) for v in known[name])
    known["domains"] = tuple(str(v) for v in known["domains"])
    known["settings"] = SupportSettings(**known["settings"])
    return SupportCalibration(**known)


def calibration_to_dict(calibration: SupportCalibration) -> dict[str, Any]:
    """Return plain data that `calibration_from_dict` reads back equal."""
    plain = asdict(calibration)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}
