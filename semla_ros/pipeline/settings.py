"""What the pipeline reads of the configuration, open places filled from the bundle."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

from semla_ros.bundle import AdaptationDefaults
from semla_ros.core.answers import SupportReading
from semla_ros.core.config import Config
from semla_ros.core.errors import EmptyLibraryError
from semla_ros.core.novelty import NoveltyAlarm
from semla_ros.core.support_calibration import SupportCalibration
from semla_ros.core.types import AdapterMix, DomainEstimate
from semla_ros.library.retrieval import RetrievalSettings, retrieve, settings_from
from semla_ros.navigator.navigator import Navigator
from semla_ros.navigator.support import ALWAYS_LOW, COME_BACK, nearest_of, support_score

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """Everything that may change while frames flow.

    Attributes:
        config: Where it came from.
        retrieval: How distances become a mix.
        distance: Name of the distance.
        support_low: Smoothed support below is LOW; `ALWAYS_LOW` where `distance` has none.
        out_of_library: Asked for: a novelty (else a nearest distance) above is OUT_OF_LIBRARY;
            0: the library says, see `threshold`.
        bundle_out_of_library: The bundle's own, for libraries that have no say.
        calibration: What a mask promises; None where the bundle knows none, or made it under
            another retrieval, and where no swap may follow what is seen.
    """

    config: Config
    retrieval: RetrievalSettings
    distance: str
    support_low: float
    out_of_library: float
    bundle_out_of_library: float
    calibration: SupportCalibration | None = None

    @classmethod
    def of(cls, config: Config, defaults: AdaptationDefaults) -> LiveSettings:
        """Return the settings of `config`.

        Raises:
            ConfigError: The bundle recommends something impossible.
        """
        retrieval = settings_from(config, defaults)
        distance = defaults.distance if config.distance == "bundle" else config.distance
        low, out_of_library = defaults.support_low, defaults.out_of_library
        if distance != defaults.distance:
            low, out_of_library = low and _unfit(config, defaults, distance), 0.0
        calibration = _valid(defaults.calibration, retrieval, distance)
        return cls(
            config=config,
            retrieval=retrieval,
            distance=distance,
            support_low=config.support_low or low,
            out_of_library=config.out_of_library,
            bundle_out_of_library=out_of_library,
            calibration=calibration if config.swap_policy != "never" else None,
        )

    def threshold(self, alarm: NoveltyAlarm | None) -> float:
        """Return the novelty above which it is OUT_OF_LIBRARY, 0 for never.

        What was asked for comes first, then what the library found on images it held out, for it
        grows; the bundle's own number serves libraries that hold no such images.

        Args:
            alarm: What the library says.
        """
        if self.out_of_library > 0 or alarm is None:
            return self.out_of_library or self.bundle_out_of_library
        return alarm.threshold

    def silence(self, alarm: NoveltyAlarm | None) -> str:
        """Return why OUT_OF_LIBRARY is never raised, empty where it is."""
        if self.threshold(alarm) > 0:
            return ""
        if alarm is not None:
            return alarm.reason
        return "no alarm: the library holds no images to test it on; run `semla library embed`"

    def support(
        self, estimate: DomainEstimate, mix: AdapterMix, *, novelty: float, before: bool = False
    ) -> SupportReading:
        """Return how far `mix` covers `estimate`; see `outside` for the rest."""
        return Navigator.read(
            estimate,
            mix,
            low=self.support_low,
            out_of_library=self.threshold(estimate.alarm),
            exclude=self.retrieval.exclude,
            novelty=novelty,
            before=before,
        )

    def support_alone(self, estimate: DomainEstimate) -> float:
        """Return the score of the mix that retrieval picks for the newest frame alone.

        It judges the library; that of the mix that serves is low also where it lags behind.
        """
        names, distances, settings = estimate.names, estimate.raw_distances, self.retrieval
        try:
            mix = retrieve(names, distances, settings=settings)
        except EmptyLibraryError:
            return 0.0
        return support_score(mix, names, distances)

    def outside(self, estimate: DomainEstimate, *, novelty: float, before: bool) -> bool:
        """Return whether `estimate` counts as outside the library, where the base may serve.

        Args:
            estimate: Where the camera is.
            novelty: Filtered over time; NaN where the library does not know it.
            before: What was returned for the last observation: it takes a clearly nearer one
                to come back.
        """
        edge = self.threshold(estimate.alarm) * (COME_BACK if before else 1.0)
        near = nearest_of(estimate, exclude=self.retrieval.exclude)
        return replace(near, novelty=novelty).judged > edge > 0

    def novelty(self, estimate: DomainEstimate) -> float:
        """Return how novel the newest frame alone is, NaN where the library does not know."""
        return nearest_of(estimate, exclude=self.retrieval.exclude).novelty


def _unfit(config: Config, defaults: AdaptationDefaults, distance: str) -> float:
    """Return the support below which it is LOW where the bundle's is in another unit: always."""
    if not config.support_low:
        _LOG.warning(
            "support is LOW everywhere: the bundle's support_low of %.4g is for distance %r, not "
            "%r: set support_low (semla tune STUDY --false-alarms RATE finds one)",
            defaults.support_low,
            defaults.distance,
            distance,
        )
    return ALWAYS_LOW


def _valid(
    calibration: SupportCalibration | None, retrieval: RetrievalSettings, distance: str
) -> SupportCalibration | None:
    """Return the calibration if it was made under this retrieval: else nobody tested it."""
    if calibration is None:
        return None
    made = calibration.settings
    null = max(retrieval.null_distance, 0.0), max(made.null_distance, 0.0)
    if (
        math.isclose(made.temperature, retrieval.temperature, rel_tol=1e-9)
        and math.isclose(*null, rel_tol=1e-9)
        and (made.top_k, made.similarity) == (retrieval.top_k, retrieval.similarity)
        and made.distance == distance
    ):
        return calibration
    _LOG.info("the bundle's support calibration is left aside: it was made under %s", made)
    return None
