"""Did it pay? Held-out frames under the base, the new adapter, and what was there before.

Whole frames at their own size, by the code that runs on the robot; the numbers are those of
`semla evaluate`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.config import Config
from semla_ros.core.types import AdapterMix, Float64Array, Int64Array, LoraAdapter, UInt8Array
from semla_ros.data.metrics import class_iou, frame_counts, mean_iou
from semla_ros.data.tasks import ReadSettings, Task, sequence_of
from semla_ros.engine.postprocess import restore
from semla_ros.library.retrieval import retrieve, settings_from
from semla_ros.prepare.training.runner import Runner

BEFORE, ADAPTER, RETRIEVED = "base", "adapter", "retrieved without it"
_WORTH = 0.005
"""Less mIoU than that is no difference to speak of."""
_SHOWN = 3
MixOf = Callable[[UInt8Array], AdapterMix]
"""Which mix serves an image."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Scores of held-out frames.

    Attributes:
        classes: Names.
        frames: How many frames were scored.
        counts: What served -> (3, T) counts, see `frame_counts`.
    """

    classes: tuple[str, ...]
    frames: int
    counts: Mapping[str, Int64Array]

    def miou(self, what: str) -> float:
        """Return the mIoU, in 0..1; NaN where it was not tried."""
        found = self.counts.get(what)
        return float("nan") if found is None else float(mean_iou(found))

    def iou(self, what: str) -> Float64Array:
        """Return the IoU of each class (T,); NaN without truth."""
        return class_iou(self.counts[what])

    def as_dict(self) -> dict[str, object]:
        """Return what a card holds: percent, per class where there is truth."""
        return {
            what: {
                "miou": round(100 * self.miou(what), 2),
                "iou": {
                    name: round(100 * float(v), 2)
                    for name, v in zip(self.classes, self.iou(what), strict=True)
                    if np.isfinite(v)
                },
            }
            for what in self.counts
        }


def judge(
    runner: Runner,
    tasks: Sequence[Task],
    settings: ReadSettings,
    *,
    held_out: Collection[tuple[int, int]],
    adapter: LoraAdapter | None = None,
) -> Judgement:
    """Return the scores of the frames at places `held_out`, (recording, index).

    Args:
        runner: The base's bundle.
        tasks: The recordings, as they were numbered.
        settings: How they are read.
        held_out: Which frames.
        adapter: Is compared with the base, and with what the library retrieves without it.
    """
    classes = runner.bundle.manifest.vocabulary.names
    mixes = _mixes(runner, adapter)
    counts, frames = scored(runner, tasks, settings, mixes=mixes, chosen=held_out)
    return Judgement(classes, frames, counts)


def scored(
    runner: Runner,
    tasks: Sequence[Task],
    settings: ReadSettings,
    *,
    mixes: Mapping[str, MixOf],
    chosen: Collection[tuple[int, int]] | None = None,
) -> tuple[dict[str, Int64Array], int]:
    """Return what served -> (3, T) counts of labelled frames, see `frame_counts`, and how many.

    Args:
        runner: The base's bundle.
        tasks: The recordings, as they were numbered.
        settings: How they are read.
        mixes: What is to be compared.
        chosen: Places of frames, (recording, index); None: all.
    """
    classes = runner.bundle.manifest.vocabulary.names
    counts = {what: np.zeros((3, len(classes)), np.int64) for what in mixes}
    frames = 0
    for number, task in enumerate(tasks):
        wanted = {index for recording, index in chosen or () if recording == number}
        if chosen is not None and not wanted:
            continue
        for block in sequence_of(task, settings, classes).blocks(on_note=_unheard):
            seen = [
                (read.frame.rgb, truth.labels)
                for read, truth in block
                if read.frame is not None
                and truth.labels is not None
                and (chosen is None or read.index in wanted)
            ]
            frames += len(seen)
            for what, mix_of in mixes.items():
                for rgb, labels in seen:
                    mask = restore(runner.segment(rgb, mix_of(rgb)), labels.shape[:2])
                    counts[what] += frame_counts(labels, mask, classes=len(classes))
    return counts, frames


def _mixes(runner: Runner, adapter: LoraAdapter | None) -> dict[str, MixOf]:
    base = AdapterMix.base_only()
    if adapter is None:
        return {BEFORE: lambda _: base}
    runner.extra[adapter.name] = adapter
    own = AdapterMix((adapter.name,), (1.0,))
    found: dict[str, MixOf] = {BEFORE: lambda _: base, ADAPTER: lambda _: own}
    names = runner.library.names
    if runner.bank is not None and {*names} - {adapter.name}:
        defaults = runner.bundle.manifest.defaults
        settings = settings_from(Config(exclude=adapter.name), defaults)
        found[RETRIEVED] = lambda rgb: retrieve(
            names, runner.distances(runner.embed(rgb)), settings=settings
        )
    return found


def verdict(judgement: Judgement, name: str) -> list[str]:
    """Return in words whether adapter `name` pays, and where."""
    base, own = judgement.miou(BEFORE), judgement.miou(ADAPTER)
    lines = [
        f"{name}: mIoU of {judgement.frames} held-out frames: base {_percent(base)}, with the "
        f"adapter {_percent(own)}"
    ]
    rival, of = base, "the base"
    if RETRIEVED in judgement.counts:
        rival, of = judgement.miou(RETRIEVED), "what the library retrieves without it"
        lines[0] += f", {RETRIEVED} {_percent(rival)}"
        if base > rival:
            rival, of = base, "the base, which beats what the library retrieves"
    gain = own - rival
    if gain > _WORTH:
        lines.append(f"it pays: {_points(gain)} over {of}")
    elif gain < -_WORTH:
        lines.append(f"it does not pay: {_points(gain)} against {of}")
    else:
        lines.append(f"it makes no difference to speak of: {_points(gain)} against {of}")
    return lines + _per_class(judgement)


def _per_class(judgement: Judgement) -> list[str]:
    change = judgement.iou(ADAPTER) - judgement.iou(BEFORE)
    known = [int(i) for i in np.argsort(-change) if np.isfinite(change[i])]
    better = [i for i in known if change[i] > _WORTH]
    worse = [i for i in reversed(known) if change[i] < -_WORTH]
    lines = [f"better than the base in {len(better)} of {len(known)} classes"]
    for word, chosen in (("most gained", better), ("lost", worse)):
        if chosen:
            shown = (
                f"{judgement.classes[i]} {_points(float(change[i]))}" for i in chosen[:_SHOWN]
            )
            lines.append(f"{word}: {', '.join(shown)}")
    return lines


def class_table(judgement: Judgement) -> list[str]:
    """Return a Markdown table: IoU in percent per class, a column for each that served."""
    columns = list(judgement.counts)
    rows = [f"| class | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    ious = {what: judgement.iou(what) for what in columns}
    for i, name in enumerate(judgement.classes):
        if np.isfinite(ious[columns[0]][i]):
            cells = (f"{100 * ious[what][i]:.1f}" for what in columns)
            rows.append(f"| {name} | {' | '.join(cells)} |")
    means = (f"**{100 * judgement.miou(what):.1f}**" for what in columns)
    return [*rows, f"| **mean** | {' | '.join(means)} |"]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points"


def _unheard(_note: str) -> None:
    """Notes were given when the frames were gathered."""
