"""Does a new adapter pay, and does it harm nobody? Held against what serves today.

What is compared is what retrieval serves, frame by frame, without and with the adapter, on
labelled frames of its own domain that it was not trained on, and of the library's other domains.
Of a domain without labelled frames the embeddings that the library keeps tell how much weight the
adapter would take there: where it takes none, nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import islice

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.core.config import Config
from semla_ros.core.errors import BundleError, ConfigError, EvaluationError
from semla_ros.core.novelty import NoveltyAlarm
from semla_ros.core.types import AdapterMix, Float32Array
from semla_ros.data.metrics import mean_iou
from semla_ros.data.tasks import ReadSettings, Task, sequence_of
from semla_ros.library.retrieval import RetrievalSettings, retrieve, settings_from
from semla_ros.loop.quarantine import DomainTrial
from semla_ros.prepare.training.judge import scored
from semla_ros.prepare.training.runner import Runner

LEAST_FRAMES = 8
"""Labelled frames of a domain from which on they decide."""
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

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, astuple(self))):
            raise ConfigError(
                "expected finite numbers for --min-gain, --max-harm and --max-share, got "
                f"{', '.join(f'{100 * value:g}' for value in astuple(self))}"
            )


def require_evidence(
    bundle: ModelBundle, name: str, others: Mapping[str, Sequence[Task]], *, reading: ReadSettings
) -> None:
    """Check, before hours of training, that adapter `name` can be judged afterwards.

    Raises:
        BundleError: The bundle has no navigator.
        ConfigError: The frames of `others` are those of the domain itself.
        SemlaError: Frames of `others` cannot be read, or too few of them have labels.
    """
    if bundle.manifest.navigator is None:
        raise BundleError("expected a bundle with a navigator: nothing is retrieved without")
    if name in others:
        raise ConfigError(f"expected domains other than {name!r} with --others: leave it out")
    classes = bundle.manifest.vocabulary.names
    for domain, tasks in others.items():
        found = sum(islice(_labelled(tasks, reading, classes), LEAST_FRAMES))
        if found < LEAST_FRAMES:
            raise EvaluationError(
                f"expected at least {LEAST_FRAMES} frames of {domain!r} with labels of the "
                f"bundle's classes (--others), got {found}: check --labels and --label-map, or "
                "leave it out"
            )


def _labelled(
    tasks: Sequence[Task], reading: ReadSettings, classes: Sequence[str]
) -> Iterator[int]:
    """Yield 1 for each labelled frame; all inputs are opened first."""
    for source in [sequence_of(task, reading, classes) for task in tasks]:
        for block in source.blocks(on_note=lambda _: None):
            for read, truth in block:
                labels = None if read.frame is None else truth.labels
                if labels is not None and (labels < len(classes)).any():
                    yield 1


def trials(
    runner: Runner,
    name: str,
    own: Sequence[Task],
    others: Mapping[str, Sequence[Task]],
    *,
    reading: ReadSettings,
) -> tuple[DomainTrial, ...]:
    """Return what adapter `name` does to every domain of the library, its own first.

    Generated adapters are left out where `others` has no frames: nobody has seen their domains.

    Args:
        runner: Of a bundle with a navigator whose library holds it.
        name: The adapter.
        own: Labelled frames of its domain that it was not trained on.
        others: Domain -> labelled frames; domains that the library does not have count, too.
        reading: How they are read.
    """
    found = [_trial(runner, name, name, own, reading)]
    seen = {*runner.library.names} - {*runner.library.generated}
    for domain in sorted((seen | {*others}) - {name}):
        found.append(_trial(runner, name, domain, others.get(domain, ()), reading))
    return tuple(found)


def reasons(found: Sequence[DomainTrial], thresholds: Thresholds) -> tuple[str, ...]:
    """Return why an adapter may not serve; empty: it may."""
    own, others = found[0], found[1:]
    gain = own.after - own.before
    told = []
    if own.frames < LEAST_FRAMES:
        told.append(_too_few(own))
    elif not gain >= thresholds.min_gain:
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
    if 0 < each.frames < LEAST_FRAMES:
        return _too_few(each)
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


def _too_few(each: DomainTrial) -> str:
    return (
        f"{each.domain} has too few labelled frames to judge: {each.frames}, needs {LEAST_FRAMES}"
    )


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
