"""A study on disk: `results.json` (facts, for people and tools) and `frames.npz` (arrays).

Both are byte-equal for equal studies: no clock, no durations. Nothing is unpickled.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semla_ros.core.answers import SUPPORT_LEVELS
from semla_ros.core.errors import EvaluationError
from semla_ros.core.files.npz_file import read_arrays
from semla_ros.core.mask_signals import SIGNALS
from semla_ros.core.shown import utf8
from semla_ros.data.metrics import mean_iou
from semla_ros.evaluation.files import json_text, read_json, typed, write_file
from semla_ros.evaluation.result import SkippedRecord
from semla_ros.evaluation.study.scores import summary
from semla_ros.evaluation.study.study import SequenceResult, StrategyResult, Study, StudyInfo
from semla_ros.evaluation.table import csv_text

FORMAT = "semla-study/2"
RESULTS, FRAMES = "results.json", "frames.npz"
MAX_JSON_BYTES = 500_000_000
MAX_ARRAY_BYTES = 8_000_000_000
_LEVELS = ("", *SUPPORT_LEVELS)
_SEQUENCE_ARRAYS = {
    "stamps_ns": np.int64,
    "scored": np.bool_,
    "embeddings": np.float32,
    "distances": np.float64,
    "novelty": np.float64,
    "support": np.float64,
    "smoothed": np.float64,
}
_STRATEGY_ARRAYS = {
    "counts": np.int64,
    "weights": np.float32,
    "signals": np.float64,
    "mask_crc32": np.uint32,
    "swapped": np.bool_,
}
_Arrays = dict[str, np.ndarray[Any, Any]]


def save_study(study: Study, folder: Path) -> tuple[Path, ...]:
    """Write `results.json` and `frames.npz`; each appears when it is whole.

    Returns:
        The files written.

    Raises:
        EvaluationError: The folder cannot be written.
    """
    files = study_files(study)
    return tuple(write_file(folder / name, content) for name, content in files.items())


def study_files(study: Study) -> dict[str, bytes]:
    """Return file name -> content of a study, in the order they are to be written."""
    arrays: _Arrays = {}
    recordings = [_recording_to(r, f"r{i:05d}", arrays) for i, r in enumerate(study.recordings)]
    data = {
        "format": FORMAT,
        "info": study.info,
        "summary": summary(study),
        "notes": study.notes,
        "recordings": recordings,
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    # The arrays first: a results.json always has its frames.
    return {FRAMES: stream.getvalue(), RESULTS: utf8(json_text(data))}


def load_study(path: Path) -> Study:
    """Return the study that `save_study` wrote.

    Args:
        path: Its folder, or the `results.json` in it.

    Raises:
        EvaluationError: Missing, of another format, or damaged.
    """
    folder = path.parent if path.name == RESULTS else path
    data = _read_facts(folder / RESULTS)
    arrays = _read_arrays(folder / FRAMES)
    try:
        info = typed(StudyInfo, data["info"], "info")
        recordings = tuple(
            _recording_from(r, f"r{i:05d}", arrays, info) for i, r in enumerate(data["recordings"])
        )
        study = Study(info, recordings, typed(tuple[str, ...], data["notes"], "notes"))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EvaluationError(
            f"{str(folder)!r} holds a damaged study ({error!r}): evaluate again"
        ) from error
    return study


def frames_table(study: Study) -> str:
    """Return CSV, a line for each frame and strategy; mIoU and confidence in [0, 1]."""
    head = ("recording", "frame", "stamp_ns", "domain", "strategy", "miou", "confidence")
    return csv_text(
        (*head, "support", "level", "swapped", *study.info.adapters, "base"),
        (
            line
            for recording in study.recordings
            for result in recording.results.values()
            for line in _lines(recording, result)
        ),
    )


def _lines(recording: SequenceResult, result: StrategyResult) -> Iterator[tuple[object, ...]]:
    rows = zip(
        recording.stamps_ns.tolist(),
        recording.domains,
        mean_iou(result.counts).tolist(),
        result.confidence.tolist(),
        recording.support.tolist(),
        recording.levels,
        result.swapped.tolist(),
        result.weights.tolist(),
        strict=True,
    )
    for i, (stamp_ns, domain, *numbers, level, swapped, weights) in enumerate(rows):
        measured = map(_number, numbers)
        yield (
            *(recording.name, i, stamp_ns, domain, result.strategy),
            *(*measured, level, int(swapped), *map(_number, weights)),
        )


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _recording_to(recording: SequenceResult, key: str, arrays: _Arrays) -> dict[str, Any]:
    """Put the arrays of `recording` into `arrays` and return the rest as plain data."""
    for name, kind in _SEQUENCE_ARRAYS.items():
        arrays[f"{key}/{name}"] = np.asarray(getattr(recording, name), dtype=kind)
    domains = tuple(dict.fromkeys(recording.domains))
    place = {name: i for i, name in enumerate(domains)}
    arrays[f"{key}/domains"] = np.array([place[d] for d in recording.domains], np.uint16)
    arrays[f"{key}/levels"] = np.array([_LEVELS.index(v) for v in recording.levels], np.uint8)
    for i, result in enumerate(recording.results.values()):
        for name, kind in _STRATEGY_ARRAYS.items():
            arrays[f"{key}/s{i:03d}/{name}"] = np.asarray(getattr(result, name), dtype=kind)
    return {
        "source": recording.source,
        "name": recording.name,
        "topic": recording.topic,
        "frames": recording.frames,
        "domains": domains,
        "strategies": list(recording.results),
        "skipped": recording.skipped,
        "notes": recording.notes,
        "ended_early": recording.ended_early,
        "probe_crc32": recording.probe_crc32,
    }


def _recording_from(
    data: Mapping[str, Any], key: str, arrays: _Arrays, info: StudyInfo
) -> SequenceResult:
    frames, adapters = len(arrays[f"{key}/stamps_ns"]), len(info.adapters)
    widths = {"embeddings": arrays[f"{key}/embeddings"].shape[1:2]}
    widths["distances"] = (adapters if arrays[f"{key}/distances"].shape[1:2] != (0,) else 0,)
    taken = {
        name: _fitting(arrays, f"{key}/{name}", kind, (frames, *widths.get(name, ())))
        for name, kind in _SEQUENCE_ARRAYS.items()
    }
    shapes = {"counts": (3, len(info.classes)), "weights": (adapters + 1,)}
    shapes["signals"] = (len(SIGNALS),)
    results = {}
    for i, strategy in enumerate(map(str, data["strategies"])):
        loaded = {
            name: _fitting(arrays, f"{key}/s{i:03d}/{name}", kind, (frames, *shapes.get(name, ())))
            for name, kind in _STRATEGY_ARRAYS.items()
        }
        if loaded["counts"].min(initial=0) < 0 or not np.isfinite(loaded["weights"]).all():
            raise ValueError(f"{key}: counts below 0, or weights that are not finite")
        results[strategy] = StrategyResult(strategy=strategy, **loaded)
    domains = [str(d) for d in data["domains"]]
    places = _fitting(arrays, f"{key}/domains", np.uint16, (frames,))
    levels = _fitting(arrays, f"{key}/levels", np.uint8, (frames,))
    return SequenceResult(
        source=str(data["source"]),
        name=str(data["name"]),
        topic=str(data["topic"]),
        domains=tuple(domains[i] for i in places.tolist()),
        levels=tuple(_LEVELS[i] for i in levels.tolist()),
        results=results,
        skipped=typed(tuple[SkippedRecord, ...], data["skipped"], "skipped"),
        notes=typed(tuple[str, ...], data["notes"], "notes"),
        ended_early=str(data["ended_early"]),
        probe_crc32=typed(tuple[int, ...], data["probe_crc32"], "probe_crc32"),
        **taken,
    )


def _fitting(arrays: _Arrays, name: str, kind: type, shape: tuple[int, ...]) -> Any:  # noqa: ANN401
    """Return an array if it has this type and shape."""
    found = arrays[name]
    if found.dtype != kind or found.shape != shape:
        expected = f"{shape} of {np.dtype(kind)}"
        raise ValueError(f"{name}: expected {expected}, got {found.shape} of {found.dtype}")
    return found


def _read_facts(path: Path) -> dict[str, Any]:
    data = read_json(path, what="a study", max_bytes=MAX_JSON_BYTES)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise EvaluationError(
            f"expected a study of format {FORMAT!r} in {str(path)!r}: "
            "give the folder `semla evaluate` wrote, or evaluate again"
        )
    return data


def _read_arrays(path: Path) -> _Arrays:
    try:
        return dict(read_arrays(path, max_bytes=MAX_ARRAY_BYTES))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"cannot read frames from {str(path)!r}: {error}") from error
