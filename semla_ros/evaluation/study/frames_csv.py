"""A study as a table: one line for each frame and strategy."""

from __future__ import annotations

import math

from semla_ros.evaluation.metrics import mean_iou
from semla_ros.evaluation.study.record import RecordingTrack, Study
from semla_ros.evaluation.table import csv_text

_HEAD = ("recording", "frame", "stamp_ns", "domain", "strategy", "miou", "confidence")


def frames_table(study: Study) -> str:
    """Return the CSV: mIoU and confidence in [0, 1], support, and the share of each adapter."""
    return csv_text(
        (*_HEAD, "support", "level", "swapped", *study.info.adapters, "base"),
        (
            line
            for recording in study.recordings
            for strategy in recording.tracks
            for line in _lines(recording, strategy)
        ),
    )


def _lines(recording: RecordingTrack, strategy: str) -> list[tuple[object, ...]]:
    track = recording.tracks[strategy]
    miou, confidence = mean_iou(track.counts).tolist(), track.confidence.tolist()
    support, weights = recording.support.tolist(), track.weights.tolist()
    return [
        (
            recording.name,
            i,
            int(recording.stamps_ns[i]),
            recording.domains[i],
            strategy,
            _number(miou[i]),
            _number(confidence[i]),
            _number(support[i]),
            recording.levels[i],
            int(track.swapped[i]),
            *map(_number, weights[i]),
        )
        for i in range(recording.frames)
    ]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
