"""What the pipeline reads of the configuration, open places filled from the bundle."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Collection
from dataclasses import dataclass, fields, replace

import numpy as np

from semla_ros.bundle import AdaptationDefaults
from semla_ros.core.answers import SupportReading
from semla_ros.core.config import PARAMETERS, Config
from semla_ros.core.errors import ConfigError, EmptyLibraryError
from semla_ros.core.novelty import NoveltyAlarm
from semla_ros.core.support_calibration import SupportCalibration
from semla_ros.core.types import AdapterMix, DomainEstimate, Float64Array
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.retrieval import RetrievalSettings, retrieve, settings_from
from semla_ros.navigator.distance import CentroidBank, mahalanobis_precisions, pooled_whitening
from semla_ros.navigator.held_out import MIN_IMAGES, library_alarm, tied_whitening
from semla_ros.navigator.navigator import Navigator
from semla_ros.navigator.support import COME_BACK, nearest_of, support_score

_LOG = logging.getLogger(__name__)
_POLICY = tuple(spec.name for spec in PARAMETERS.values() if spec.decides == "policy")


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """Everything that may change while frames flow.

    Attributes:
        config: Where it came from.
        retrieval: How distances become a mix.
        distance: Name of the distance.
        support_low: Smoothed support below is LOW.
        out_of_library: Asked for: a novelty (else a nearest distance) above is OUT_OF_LIBRARY;
            0: the library says, see `threshold`.
        bundle_out_of_library: The bundle's own, for libraries that have no say.
        calibration: What a mask promises; None where the bundle knows none, or made it under
            another retrieval.
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
        return cls(
            config=config,
            retrieval=retrieval,
            distance=distance,
            support_low=config.support_low or defaults.support_low,
            out_of_library=config.out_of_library,
            bundle_out_of_library=defaults.out_of_library,
            calibration=_valid(defaults.calibration, retrieval, distance),
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
            null_distance=self.retrieval.null_distance,
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
        return support_score(mix, names, distances, null_distance=settings.null_distance)

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


def same_policy(one: Config, other: Config) -> bool:
    """Return whether both ask for the same swap policy, settings included."""
    return all(getattr(one, name) == getattr(other, name) for name in _POLICY)


def not_live(before: Config, after: Config) -> list[str]:
    """Return the parameters that differ and that a running pipeline cannot take over."""
    changed = [f.name for f in fields(Config) if getattr(before, f.name) != getattr(after, f.name)]
    return [name for name in changed if not PARAMETERS[name].live]


def with_live_of(before: Config, after: Config) -> Config:
    """Return `before` with the live parameters of `after`."""
    live = [name for name, spec in PARAMETERS.items() if spec.live]
    return replace(before, **{name: getattr(after, name) for name in live})


def check_live(before: Config, after: Config) -> None:
    """Check that only live parameters differ.

    Raises:
        ConfigError: Another parameter differs; it is named.
    """
    names = not_live(before, after)
    if names:
        raise ConfigError(f"expected only live parameters to change, got {names!r}: restart")


def check_excluded(names: Collection[str], library: AdapterLibrary) -> None:
    """Check that the library has every adapter that is never to serve.

    A name it does not have is refused, though nothing of that name can serve: where it is
    misspelt, the adapter that was meant would go on serving.

    Raises:
        ConfigError: It has not; the name is told with the nearest of the library.
    """
    for name in unknown_of(names, library):
        near = difflib.get_close_matches(name, (*library.names, *library.problems), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "leave it out"
        raise ConfigError(
            f"parameter 'exclude': expected adapters of the library, got {name!r}: {hint}"
        )


def unknown_of(names: Collection[str], library: AdapterLibrary) -> list[str]:
    """Return the `names` that the library has no folder of, sorted."""
    return sorted(set(names).difference(library.names, library.problems))


def bank_of(library: AdapterLibrary, *, distance: str) -> CentroidBank:
    """Return the centroids of `library` with what `distance` needs.

    Raises:
        LibraryError: `mahalanobis` with domains that have too few images.
    """
    if not library.names:
        alarm = library_alarm((), ())
        return CentroidBank(library.names, library.centroids, alarm=alarm)
    own = None
    if distance == "mahalanobis":
        statistics = [library.statistics[name] for name in library.names]
        own = mahalanobis_precisions(
            library.names,
            [each.covariance for each in statistics],
            counts=[each.count for each in statistics],
        )
    known = library.statistics  # empty without a navigator
    samples = [known[name].sample if name in known else None for name in library.names]
    alarm = library_alarm(library.names, samples)
    if alarm is None:
        _LOG.info("the library holds no images to test an alarm on: the bundle's threshold holds")
    elif alarm.reason:
        _LOG.warning("library: %s", alarm.reason)
    return CentroidBank(library.names, library.centroids, own, _spread(library), alarm)


def _spread(library: AdapterLibrary) -> Float64Array | None:
    """Return the whitening by the spread within domains, None where the library knows none.

    From samples where all domains that know their spread have one, shrunk all together; else from
    covariances, each shrunk by itself.
    """
    known = [each for each in library.statistics.values() if each.covariance is not None]
    samples = [each.sample for each in library.statistics.values() if each.sample is not None]
    count = sum(len(sample.embeddings) for sample in samples)
    sampled = all(each.sample is not None for each in known)
    if sampled and count >= MIN_IMAGES + len(samples):
        return tied_whitening([sample.embeddings.astype(np.float64) for sample in samples])
    spread = library.spread
    if spread is None:
        return None
    return pooled_whitening([spread.covariance], counts=[spread.count])


@dataclass(frozen=True, slots=True)
class LibraryView:
    """A library and its centroids as one distance needs them."""

    library: AdapterLibrary
    distance: str
    bank: CentroidBank

    @classmethod
    def of(
        cls, library: AdapterLibrary, *, distance: str, known: CentroidBank | None = None
    ) -> LibraryView:
        """Return the view of `library`; slow where there are many images or for `mahalanobis`.

        Args:
            library: The adapters.
            distance: A name of `DISTANCES`.
            known: The centroids in use; they stay where `library` shares them, see its `reload`.

        Raises:
            LibraryError: The library has not what the distance needs.
        """
        shared = known is not None and known.centroids is library.centroids
        if (
            known is not None
            and shared
            and (known.precisions is None) == (distance != "mahalanobis")
        ):
            return cls(library, distance, known)
        return cls(library, distance, bank_of(library, distance=distance))
