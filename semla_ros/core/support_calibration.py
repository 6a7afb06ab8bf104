"""What a mask promises: the mIoU to expect of it, and a bound that mIoU stays above.

A straight line through a few signals of the mask (`mask_signals`), fitted on frames with truth and
stored as plain numbers in the bundle. The support score of SemLA's Eq. 15 has no part in it: held
against frames of unseen domains it tells less than the mask does (docs/reading_a_report.md).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from semla_ros.core.errors import ConfigError
from semla_ros.core.mask_signals import SIGNALS

_LOG = logging.getLogger(__name__)
NOTHING = (math.nan, 0.0)
"""Expected mIoU and bound where a calibration knows nothing: no expectation, no promise."""


@dataclass(frozen=True, slots=True)
class SupportSettings:
    """The retrieval whose masks a calibration was fitted on.

    Attributes:
        temperature, top_k, distance, similarity, null_distance: As in the configuration.
    """

    temperature: float
    top_k: int
    distance: str
    similarity: str
    null_distance: float


@dataclass(frozen=True, slots=True)
class SignalTerm:
    """What one signal of the mask adds to the expected mIoU.

    Attributes:
        name: One of `mask_signals.SIGNALS`.
        mean, scale: The signal's mean and spread over the frames of the fit.
        coefficient: mIoU for each `scale` above `mean`.
        low, high: The signal's range over the frames of the fit; outside nothing is promised.
    """

    name: str
    mean: float
    scale: float
    coefficient: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SupportCalibration:
    """A linear map from a mask's signals to its frame mIoU, and how far below it mIoU falls.

    Attributes:
        terms: One for each signal.
        intercept: Expected mIoU where every signal has its mean.
        offset: Expected mIoU minus `offset` is the lower bound, >= 0.
        target: Share of frames whose mIoU the bound is meant to stay below, e.g. 0.9.
        coverage: The share measured on domains that were held out, mean over them.
        worst_coverage: The same of the worst held-out domain.
        error: Mean absolute error of the expected mIoU on held-out domains.
        errors: The same of what it had to beat: the plain mean, lines through mean confidence
            and through the smoothed support.
        frames: Frames behind the map.
        domains: The domains they show.
        settings: The promise holds under these alone.
        made_by: The command.
    """

    terms: tuple[SignalTerm, ...]
    intercept: float
    offset: float
    target: float
    coverage: float
    worst_coverage: float
    error: float
    errors: Mapping[str, float]
    frames: int
    domains: tuple[str, ...]
    settings: SupportSettings
    made_by: str

    def __post_init__(self) -> None:
        names = tuple(term.name for term in self.terms)
        if names != SIGNALS:
            raise ConfigError(
                f"expected a calibration of the signals {SIGNALS!r}, got {names!r}: calibrate "
                "again with this version"
            )
        numbers = [v for t in self.terms for v in (t.mean, t.scale, t.coefficient, t.low, t.high)]
        if not _finite([*numbers, self.intercept, self.offset]):
            raise ConfigError(
                f"expected finite numbers in a calibration, got {self.terms!r}, intercept "
                f"{self.intercept!r} and offset {self.offset!r}: calibrate again"
            )
        if self.offset < 0 or any(t.scale <= 0 or t.low > t.high for t in self.terms):
            raise ConfigError(
                f"expected positive scales, low <= high and an offset of 0 or more, got "
                f"{self.terms!r} and {self.offset!r}: calibrate again"
            )

    def promise(self, signals: Sequence[float]) -> tuple[float, float]:
        """Return the mIoU to expect of a mask and its lower bound, both in [0, 1].

        A signal outside the range of the fit gives `NOTHING`: the line was never tested there.

        Args:
            signals: As `mask_signals` returns them.
        """
        total = self.intercept
        for term, value in zip(self.terms, signals, strict=True):
            if not term.low <= value <= term.high:
                return NOTHING
            total += term.coefficient * (value - term.mean) / term.scale
        if not math.isfinite(total):
            return NOTHING
        expected = min(max(total, 0.0), 1.0)
        return expected, max(expected - self.offset, 0.0)


def calibration_from_dict(data: Mapping[str, Any]) -> SupportCalibration | None:
    """Return what a manifest's `calibration` says; None, with a warning, for a form of old.

    Raises:
        LookupError, TypeError, ValueError, ConfigError: An entry is missing or malformed.
    """
    if "support" in data:
        _LOG.warning(
            "the bundle's calibration maps support alone, as earlier versions did: left aside, "
            "expected_miou stays NaN; make it anew with semla tune STUDY --write-calibration"
        )
        return None
    known = dict(data)
    known["terms"] = tuple(SignalTerm(**term) for term in known["terms"])
    known["errors"] = {str(k): float(v) for k, v in known["errors"].items()}
    known["domains"] = tuple(str(v) for v in known["domains"])
    known["settings"] = SupportSettings(**known["settings"])
    return SupportCalibration(**known)


def calibration_to_dict(calibration: SupportCalibration) -> dict[str, Any]:
    """Return plain data that `calibration_from_dict` reads back equal."""
    plain = asdict(calibration)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def _finite(values: Sequence[object]) -> bool:
    return all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)
        for v in values
    )
