"""Does a new adapter pay, and does it harm nobody? Held against what serves today.

What is compared is what retrieval serves, frame by frame, without and with the adapter, on
labelled frames of its own domain that it was not trained on, and of the library's other domains.
Of a domain without labelled frames the embeddings that the library keeps tell how much weight the
adapter would take there: where it takes none, nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.config import Config
from semla_ros.core.errors import BundleError
from semla_ros.core.novelty import NoveltyAlarm
from semla_ros.core.types import AdapterMix, Float32Array
from semla_ros.data.metrics import mean_iou
from semla_ros.data.tasks import ReadSettings, Task
from semla_ros.library.retrieval import RetrievalSettings, retrieve, settings_from
from semla_ros.loop.quarantine import DomainTrial
from semla_ros.prepare.training.judge import scored
from semla_ros.prepare.training.runner import Runner

_BEFORE, _AFTER = "before", "after"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When an adapter may serve.

    Attributes:
        min_gain: mIoU that its own domain gains at least.
        max_harm: mIoU that another domain may lose.
        max_share: Weight that it may take in a domain of which there are no labelled frames.
    """

    min_gain: float = 0.01
    max_harm: float = 0.005
    max_share: float = 0.02


def trials(
    runner: Runner,
    name: str,
    own: Sequence[Task],
    others: Mapping[str, Sequence[Task]],
    *,
    reading: ReadSettings,
) -> tuple[DomainTrial, ...]:
    """Return what adapter `name` does to every domain of the library, its own first.

    Args:
        runner: Of a bundle whose library holds it.
        name: The adapter.
        own: Labelled frames of its domain that it was not trained on.
        others: Domain -> labelled frames; domains that the library does not have count, too.
        reading: How they are read.

    Raises:
        BundleError: The bundle has no navigator.
    """
    if runner.bank is None:
        raise BundleError("expected a bundle with a navigator: nothing is retrieved without")
    found = [_trial(runner, name, name, own, reading)]
    for domain in sorted({*runner.library.names, *others} - {name}):
        found.append(_trial(runner, name, domain, others.get(domain, ()), reading))
    return tuple(found)


def reasons(found: Sequence[DomainTrial], thresholds: Thresholds) -> tuple[str, ...]:
    """Return why an adapter may not serve; empty: it may."""
    own, others = found[0], found[1:]
    gain = own.after - own.before
    told = []
    if not gain >= thresholds.min_gain:
        told.append(
            f"its own domain gains {100 * gain:+.1f} points of mIoU on {own.frames} frames, needs "
            f"{100 * thresholds.min_gain:.1f}"
        )
    told += [text for each in others if (text := _harm(each, thresholds))]
    return tuple(told)


def silenced(before: NoveltyAlarm | None, after: NoveltyAlarm | None) -> tuple[str, ...]:
    """Return why OUT_OF_LIBRARY would never be raised any more; empty: it would, or never was."""
    if before is None or before.reason or after is None or not after.reason:
        return ()
    return (f"it would silence OUT_OF_LIBRARY for the whole library: {after.reason}",)


def _harm(each: DomainTrial, thresholds: Thresholds) -> str:
    """Return how an adapter harms a domain, empty if it does not."""
    if each.frames:
        lost = each.before - each.after
        if lost <= thresholds.max_harm:
            return ""
        return (
            f"{each.domain} loses {100 * lost:.1f} points of mIoU on {each.frames} frames, may "
            f"lose {100 * thresholds.max_harm:.1f}"
        )
    if math.isnan(each.share):
        return (
            f"{each.domain} cannot be judged: neither labelled frames (--others) nor embeddings "
            "(semla library embed)"
        )
    if each.share > thresholds.max_share:
        return (
            f"it would take {100 * each.share:.1f} % of the weight in {each.domain}, of which "
            f"there are no labelled frames (--others), may take {100 * thresholds.max_share:.1f} %"
        )
    return ""


def _trial(
    runner: Runner, name: str, domain: str, tasks: Sequence[Task], reading: ReadSettings
) -> DomainTrial:
    defaults = runner.bundle.manifest.defaults
    without = settings_from(Config(exclude=name), defaults)
    whole = settings_from(Config(), defaults)
    mixes = {
        _BEFORE: lambda rgb: _mix(runner, runner.embed(rgb), without),
        _AFTER: lambda rgb: _mix(runner, runner.embed(rgb), whole),
    }
    counts, frames = scored(runner, tasks, reading, mixes=mixes) if tasks else ({}, 0)
    miou = {what: float(mean_iou(each)) for what, each in counts.items()} if frames else {}
    statistics = runner.library.statistics.get(domain)
    share = math.nan
    if statistics is not None and statistics.sample is not None:
        rows = statistics.sample.embeddings
        share = float(np.mean([_mix(runner, row, whole).weight(name) for row in rows]))
    return DomainTrial(
        domain, frames, miou.get(_BEFORE, math.nan), miou.get(_AFTER, math.nan), share
    )


def _mix(runner: Runner, embedding: Float32Array, settings: RetrievalSettings) -> AdapterMix:
    """Return what retrieval serves; the base where no adapter may."""
    names = runner.library.names
    if not {*names} - settings.exclude:
        return AdapterMix.base_only()
    return retrieve(names, runner.distances(embedding), settings=settings)
