"""The frames of a study that went worst, looked at once more: camera, truth, mask, error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import cv2
import numpy as np

from semla_ros.core.types import BASE, AdapterMix, Float32Array, LabelArray, UInt8Array
from semla_ros.data.inputs import InputFrame, unheard
from semla_ros.data.metrics import mean_iou
from semla_ros.data.sequence_source import SequenceSource
from semla_ros.data.tasks import Task
from semla_ros.engine.postprocess import restore
from semla_ros.evaluation.analysis.frames import main_strategy
from semla_ros.evaluation.page import BadFrame, Picture, picture_of
from semla_ros.evaluation.study.session import Session, StudySettings
from semla_ros.evaluation.study.study import (
    SequenceResult,
    StrategyResult,
    Study,
)
from semla_ros.evaluation.study.tasks import source_of

DEFAULT_COUNT = 12
IGNORED = 255
ERROR_RGB = (213, 94, 0)
"""Vermilion of Okabe and Ito: told from grey by everybody."""
_APART_NS = 2_000_000_000
"""Two frames of one recording nearer than this show the same."""


@dataclass(frozen=True, slots=True)
class WorstFrame:
    """Where a bad frame is.

    Attributes:
        recording: Its name.
        row: Its place in the result.
        score: mIoU in [0, 1].
    """

    recording: str
    row: int
    score: float


def find_worst(study: Study, strategy: str, *, count: int = DEFAULT_COUNT) -> list[WorstFrame]:
    """Return the scored frames of lowest mIoU, the worst first, none close to another."""
    found = [
        WorstFrame(recording.name, int(row), float(miou[row]))
        for recording in study.recordings
        if strategy in recording.results
        for miou in [mean_iou(recording.results[strategy].counts)]
        for row in np.flatnonzero(recording.scored & ~np.isnan(miou))
    ]
    stamps = {r.name: r.stamps_ns for r in study.recordings}
    kept: list[WorstFrame] = []
    for frame in sorted(found, key=lambda f: (f.score, f.recording, f.row)):
        if len(kept) == count:
            break
        at = stamps[frame.recording]
        near = (k for k in kept if k.recording == frame.recording)
        if all(abs(int(at[frame.row] - at[k.row])) >= _APART_NS for k in near):
            kept.append(frame)
    return kept


def worst_frames(
    study: Study, tasks: Sequence[Task], settings: StudySettings, *, count: int = DEFAULT_COUNT
) -> tuple[BadFrame, ...]:
    """Return pictures of the worst frames, their masks made once more with the recorded mixes.

    Args:
        study: With truth; without, there are no pictures.
        tasks: What was evaluated.
        settings: How.
        count: How many frames.

    Raises:
        SemlaError: The bundle or an input cannot be opened any more.
    """
    strategy = main_strategy(study)
    found = find_worst(study, strategy, count=count)
    if not found:
        return ()
    pictures: list[BadFrame] = []
    with closing(Session(settings)) as session:
        for task in tasks:
            rows = {f.row: f.score for f in found if f.recording == task.name}
            recording = next((r for r in study.recordings if r.name == task.name), None)
            if rows and recording is not None:
                pictures += _pictured(
                    session, task, recording, result=recording.results[strategy], rows=rows
                )
    return tuple(sorted(pictures, key=lambda frame: frame.score))


def _pictured(
    session: Session,
    task: Task,
    recording: SequenceResult,
    *,
    result: StrategyResult,
    rows: Mapping[int, float],
) -> Iterator[BadFrame]:
    source = source_of(session, task)
    indices = recording.indices
    wanted = {indices[row]: row for row in rows}
    for each in source.frames.read(on_note=unheard, keep=wanted.__contains__):
        row = wanted[each.index]
        truth = _truth(source, each, ignore=len(session.classes))
        if each.frame is None or truth is None:
            continue
        session.serve(_mix(result.weights[row], session.names), each.stamp_ns)
        labels = restore(session.segment(each.frame.rgb).labels, each.frame.rgb.shape[:2])
        seconds = (each.stamp_ns - int(recording.stamps_ns[0])) * 1e-9
        parts = (recording.name, each.name or f"{seconds:.1f} s", recording.domains[row])
        caption = ", ".join(dict.fromkeys(p for p in parts if p))
        made = error_pictures(each.frame.rgb, truth, labels, session.info().colors)
        yield BadFrame(rows[row], caption, made)


def error_pictures(
    rgb: UInt8Array,
    truth: LabelArray,
    labels: LabelArray,
    colors: Sequence[tuple[int, int, int]],
    *,
    width: int = 280,
) -> tuple[Picture, ...]:
    """Return camera, truth, prediction and error of one frame.

    Args:
        rgb: (H, W, 3) camera image.
        truth: (H, W) class ids, `IGNORED` where not scored.
        labels: (H, W) class ids predicted.
        colors: RGB of each class.
        width: Of each picture, pixels.
    """
    lut = np.full((256, 3), 60, np.uint8)
    lut[: len(colors)] = np.asarray(colors, np.uint8).reshape(-1, 3)
    size = (width, max(1, round(rgb.shape[0] * width / rgb.shape[1])))
    camera = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    wanted, got = (
        cv2.resize(np.minimum(x, IGNORED).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        for x in (truth, labels)
    )
    gray = cv2.cvtColor(cv2.cvtColor(camera, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    error = (gray.astype(np.float32) * 0.6 + 90).astype(np.uint8)
    wrong = (wanted != got) & (wanted != IGNORED)
    error[wrong] = (0.25 * error[wrong] + 0.75 * np.array(ERROR_RGB)).astype(np.uint8)
    return (
        picture_of(camera, ".jpg", quality=78),
        picture_of(lut[wanted], ".png"),
        picture_of(lut[got], ".png"),
        picture_of(error, ".jpg", quality=78),
    )


def _truth(source: SequenceSource, each: InputFrame, *, ignore: int) -> LabelArray | None:
    """Return the truth at the image's size, `IGNORED` where it is not scored."""
    labels = source.truth_of(each).labels
    if labels is None or each.frame is None:
        return None
    sized: LabelArray = restore(labels, each.frame.rgb.shape[:2]).copy()
    sized[sized == ignore] = IGNORED
    return sized


def _mix(weights: Float32Array, names: Sequence[str]) -> AdapterMix:
    """Return the mix of recorded weights: those of single precision."""
    members = zip((*names, BASE), weights.tolist(), strict=True)
    return AdapterMix.from_weights({name: weight for name, weight in members if weight > 0})
