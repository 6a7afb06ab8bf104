"""`semla bench masks`: labels at the camera's size, in strips and as whole planes, in turns.

Whole planes are how it was done before: every class enlarged to the image, compared with the best
so far; strips know which classes can win there.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import cv2
import numpy as np

from semla_ros.bench.record import BenchRecord, Row
from semla_ros.bench.turns import in_turns
from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import Float32Array
from semla_ros.engine.postprocess import LabelBuffers, Labels

_SIZES = {"720p": (720, 1280), "1080p": (1080, 1920), "4K": (2160, 3840)}
_CASES = ((8, "regions"), (19, "regions"), (150, "regions"), (19, "noise"))
_PLANE = 96
_REGIONS = 12
_MIB = 2**20
_NOTES = (
    "Scores (T, 96, 96) to labels and confidence; processor time, both ways in turns, one thread "
    "of OpenCV; both answers are compared and must be equal bit for bit.",
    "regions: few clear objects with soft borders, as trained networks see streets; noise: every "
    "score independent, so that every class can win everywhere.",
    "peak_mib is what numpy holds at most, buffers and answer included.",
)


def run_masks(*, rounds: int, command: str) -> BenchRecord:
    """Return the record.

    Raises:
        EvaluationError: The two answers differ.
    """
    cv2.setNumThreads(1)
    rows = [
        _row(name, classes, kind, rounds=rounds) for name in _SIZES for classes, kind in _CASES
    ]
    return BenchRecord("Labels at the camera's size", command, tuple(rows), notes=_NOTES)


def _row(name: str, classes: int, kind: str, *, rounds: int) -> Row:
    size = _SIZES[name]
    scores = _scores(classes, kind)
    whole, strips = _Whole(size), LabelBuffers(size)
    if not all(map(np.array_equal, whole(scores), strips.from_scores(scores))):
        raise EvaluationError(f"labels of {classes} classes at {size!r} differ")
    ways: dict[str, Callable[[Float32Array], object]] = {
        "strips": strips.from_scores,
        "whole": whole,
    }
    taken = {n: t[:, 1] for n, t in in_turns(ways, [scores] * rounds, warm_up=0).items()}
    return {
        "size": name,
        "classes": classes,
        "scores": kind,
        "whole_cpu_ms_p50": float(np.median(taken["whole"])),
        "strips_cpu_ms_p50": float(np.median(taken["strips"])),
        "whole_over_strips": float(np.median(taken["whole"] / taken["strips"])),
        "whole_peak_mib": _peak_mib(lambda: _Whole(size)(scores)),
        "strips_peak_mib": _peak_mib(lambda: LabelBuffers(size).from_scores(scores)),
    }


class _Whole:
    """Each class enlarged to the whole image."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._best, self._candidate = np.empty((2, *size), np.float32)
        self._better = np.empty(size, np.bool_)
        self._chosen = np.empty(size, np.uint8)

    def __call__(self, scores: Float32Array) -> Labels:
        labels = np.zeros(self._size, np.uint8)
        best, better, chosen = self._best, self._better, self._chosen
        best.fill(-1.0)
        for class_id, plane in enumerate(scores):
            cv2.resize(plane, self._size[::-1], dst=self._candidate)
            np.greater(self._candidate, best, out=better)
            np.multiply(better, np.uint8(class_id), out=chosen)
            np.maximum(labels, chosen, out=labels)
            np.maximum(self._candidate, best, out=best)
        best *= 255.0
        np.rint(best, out=best)
        return Labels(labels, best.astype(np.uint8))


def _scores(classes: int, kind: str) -> Float32Array:
    rng = np.random.default_rng(0)
    if kind == "noise":
        return rng.random((classes, _PLANE, _PLANE), np.float32)
    places = rng.random((_REGIONS, 2)) * _PLANE
    grid = np.moveaxis(np.indices((_PLANE, _PLANE)), 0, -1)[..., None, :]
    nearest = np.linalg.norm(grid - places, axis=-1).argmin(axis=-1)
    ids = rng.integers(0, classes, _REGIONS)[nearest]
    planes = (ids == np.arange(classes)[:, None, None]).astype(np.float32)
    soft = np.stack([cv2.GaussianBlur(each, (0, 0), 1.5) for each in planes])
    noise = rng.random(soft.shape, np.float32)
    return np.asarray(0.05 * noise + 0.9 * soft, np.float32)


def _peak_mib(call: Callable[[], object]) -> float:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / _MIB
    finally:
        tracemalloc.stop()
