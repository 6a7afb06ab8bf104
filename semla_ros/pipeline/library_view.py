"""A library as the pipeline measures to it: its centroids, and which of its adapters exist."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from semla_ros.core.errors import ConfigError
from semla_ros.core.types import Float64Array
from semla_ros.library.library import AdapterLibrary
from semla_ros.navigator.distance import (
    MIN_COVARIANCE_SAMPLES,
    CentroidBank,
    mahalanobis_precisions,
    pooled_whitening,
)
from semla_ros.navigator.held_out import MIN_IMAGES, library_alarm, tied_whitening

_LOG = logging.getLogger(__name__)


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


def check_distance(distance: str, library: AdapterLibrary) -> None:
    """Check that `library` has what `distance` needs, without computing it.

    Raises:
        LibraryError: `mahalanobis` with domains that have too few images.
    """
    if distance != "mahalanobis":
        return
    known = library.statistics
    thin = [
        name
        for name in library.names
        if known[name].covariance is None or (known[name].count or 0) < MIN_COVARIANCE_SAMPLES
    ]
    if thin:
        _precisions(thin, library, distance)  # refuses them, by name


def bank_of(library: AdapterLibrary, *, distance: str) -> CentroidBank:
    """Return the centroids of `library` with what `distance` needs.

    Raises:
        LibraryError: `mahalanobis` with domains that have too few images.
    """
    if not library.names:
        alarm = library_alarm((), ())
        return CentroidBank(library.names, library.centroids, alarm=alarm)
    own = _precisions(library.names, library, distance)
    known = library.statistics  # empty without a navigator
    samples = [known[name].sample if name in known else None for name in library.names]
    alarm = library_alarm(library.names, samples, unseen=library.generated)
    if alarm is None:
        _LOG.info("the library holds no images to test an alarm on: the bundle's threshold holds")
    elif alarm.reason:
        _LOG.warning("library: %s", alarm.reason)
    return CentroidBank(library.names, library.centroids, own, _spread(library), alarm)


def _precisions(
    names: Sequence[str], library: AdapterLibrary, distance: str
) -> Float64Array | None:
    """Return what `distance` alone needs of the domains `names`, None where it needs nothing."""
    if distance != "mahalanobis":
        return None
    statistics = [library.statistics[name] for name in names]
    return mahalanobis_precisions(
        names,
        [each.covariance for each in statistics],
        counts=[each.count for each in statistics],
    )


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
        """Return the view of `library`; slow where it is not the one of `known` already.

        Args:
            library: The adapters.
            distance: A name of `DISTANCES`.
            known: The centroids in use; they stay, with spread and alarm, where `library` shares
                them, see its `reload`.

        Raises:
            LibraryError: The library has not what the distance needs.
        """
        if known is None or known.centroids is not library.centroids:
            return cls(library, distance, bank_of(library, distance=distance))
        if not fits(known, distance):
            known = replace(known, precisions=_precisions(library.names, library, distance))
        return cls(library, distance, known)


def fits(bank: CentroidBank, distance: str) -> bool:
    """Return whether `bank` is what `distance` needs, and no more."""
    return not bank.names or (bank.precisions is None) == (distance != "mahalanobis")
