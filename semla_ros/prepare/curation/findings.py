"""What in an adapter's facts a person should know; every threshold stands here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from semla_ros.core.types import Float64Array
from semla_ros.library.generated import Provenance
from semla_ros.library.statistics import DomainStatistics
from semla_ros.navigator.distance import MIN_COVARIANCE_SAMPLES
from semla_ros.navigator.held_out import MIN_IMAGES
from semla_ros.prepare.curation.hazards import hazards_of
from semla_ros.prepare.curation.lora_facts import LoraFacts, robust_z

OUTLIER_Z = 3.5
TWIN_COSINE = 0.98
"""Changes that point the same way so nearly are one adapter twice."""
TWIN_CENTROIDS = 2.0
"""Centroids nearer than so many standard errors of their difference cannot be told apart."""
_TWIN_SHARE = 1e-3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know; `attention` where somebody should act."""

    attention: bool
    text: str


def adapter_findings(
    name: str,
    facts: LoraFacts | None,
    statistics: DomainStatistics | None,
    *,
    classes: Sequence[str],
    licence: str | None,
    provenance: Provenance | None = None,
) -> Iterator[Finding]:
    """Yield what shows in one adapter alone."""
    for class_name, hazard in hazards_of(name, classes):
        yield Finding(True, f"class {class_name!r}: {hazard.reason}")
    if facts is not None:
        yield from _inert_findings(facts)
    if provenance is not None:
        yield Finding(False, _made_from_words(provenance))
    elif statistics is not None:
        yield from _statistics_findings(statistics)
    if licence is None:
        yield Finding(False, "licence not stated: ask its maker before passing it on")


def outlier_findings(facts: Mapping[str, LoraFacts]) -> Iterator[tuple[str, Finding]]:
    """Yield adapters whose change of a part of the network is unlike the others' in size."""
    for group in sorted({group for each in facts.values() for group in each.groups}):
        members = [name for name, each in facts.items() if group in each.groups]
        ratios = [facts[name].groups[group].ratio for name in members]
        for name, ratio, score in zip(members, ratios, robust_z(ratios), strict=True):
            if abs(score) > OUTLIER_Z:
                middle = float(np.median(ratios))
                text = (
                    f"{group}: changes it by {ratio:.3g} of its norm, the library's middle is "
                    f"{middle:.3g} (robust z {score:+.1f}): trained otherwise, or not to the end?"
                )
                yield name, Finding(True, text)


def start_findings(facts: Mapping[str, LoraFacts]) -> Iterator[tuple[str, Finding]]:
    """Yield adapters whose training began with the same random numbers."""
    for name, each in facts.items():
        same = [
            other
            for other, theirs in facts.items()
            if other != name and each.fingerprint and theirs.fingerprint == each.fingerprint
        ]
        if same:
            yield name, Finding(False, f"the same random start as {', '.join(same)}")


def twin_findings(
    names: Sequence[str], cosines: Float64Array, hashes: Mapping[str, str]
) -> Iterator[tuple[str, Finding]]:
    """Yield pairs of adapters that are the same, or nearly; both are told."""
    place = {name: i for i, name in enumerate(names)}
    for one, other in combinations(sorted(hashes), 2):
        same = hashes[one] == hashes[other]
        both = one in place and other in place
        cosine = float(cosines[place[one], place[other]]) if both else 0.0
        if not same and cosine < TWIN_COSINE:
            continue
        what = "the same file as" if same else f"nearly the same change (cosine {cosine:.4f}) as"
        for name, twin in ((one, other), (other, one)):
            yield name, Finding(True, f"{what} {twin!r}: one of them is superfluous or misnamed")


def centroid_findings(
    statistics: Mapping[str, DomainStatistics],
) -> Iterator[tuple[str, Finding]]:
    """Yield pairs of domains whose centroids cannot be told apart; both are told.

    The standard error of the difference is sqrt(tr C1 / n1 + tr C2 / n2) where covariances and
    counts are known (frames of one drive resemble each other, so the true one is larger);
    elsewhere centroids count as one within a thousandth of their length.
    """
    for one, other in combinations(sorted(statistics), 2):
        a, b = statistics[one], statistics[other]
        if a.centroid.shape != b.centroid.shape or (a.encoder or b.encoder) != (
            b.encoder or a.encoder
        ):
            continue
        apart = float(np.linalg.norm(a.centroid.astype(np.float64) - b.centroid))
        if apart > _indistinct(a, b):
            continue
        for name, twin in ((one, other), (other, one)):
            text = (
                f"its centroid cannot be told from that of {twin!r} (distance {apart:.3g}): the "
                "navigator will always mix both"
            )
            yield name, Finding(True, text)


def _indistinct(a: DomainStatistics, b: DomainStatistics) -> float:
    variances = [
        float(np.trace(each.covariance)) / each.count
        for each in (a, b)
        if each.covariance is not None and each.count
    ]
    if len(variances) == 2:
        return TWIN_CENTROIDS * math.sqrt(sum(variances))
    return _TWIN_SHARE * float(np.linalg.norm(a.centroid))


def _inert_findings(facts: LoraFacts) -> Iterator[Finding]:
    if not facts.live_modules:
        yield Finding(True, "changes nothing: every B is zero, the training never reached it")
    elif facts.inert_tensors:
        share = facts.inert_parameters / facts.parameters
        yield Finding(
            False,
            f"{facts.inert_tensors} of {facts.tensors} tensors ({share:.1%} of the parameters) "
            f"are inert, {facts.inert_qkv} modules of them q, k, v: never executed in training, "
            "left out here",
        )


def _statistics_findings(statistics: DomainStatistics) -> Iterator[Finding]:
    if statistics.encoder is None:
        yield Finding(False, "the centroid names no encoder: taken for one of SemLA's own")
    if statistics.covariance is None:
        yield Finding(
            False,
            "no covariance: novelty takes the other domains' spread for its own, and is off where "
            "none has one; `semla library embed` makes one",
        )
    elif (statistics.count or 0) < MIN_COVARIANCE_SAMPLES:
        yield Finding(
            False,
            f"covariance of {statistics.count} images (shrinkage "
            f"{_said(statistics.shrinkage)}): too few for 'mahalanobis', which wants "
            f"{MIN_COVARIANCE_SAMPLES}",
        )
    if statistics.sample is None or statistics.sample.images < MIN_IMAGES:
        images = 0 if statistics.sample is None else statistics.sample.images
        yield Finding(
            False,
            f"{images} images to hold out, OUT_OF_LIBRARY needs {MIN_IMAGES} of every domain: the "
            "library raises no alarm of its own; `semla library embed` with more",
        )


def _made_from_words(provenance: Provenance) -> str:
    experts = ", ".join(f"{name} {weight:.2f}" for name, weight in provenance.experts.items())
    return (
        f"generated from the words {provenance.text!r} ({experts}): nobody saw an image of it, "
        "its centroid is predicted, and it makes nothing known; `generated_adapters: refuse` "
        "leaves it out"
    )


def _said(shrinkage: float | None) -> str:
    return "not stated" if shrinkage is None else f"{shrinkage:.2f}"
