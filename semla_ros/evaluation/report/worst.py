"""The frames with the lowest scores, each as camera, truth, prediction and error."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

from semla_ros.bags.messages import encoded
from semla_ros.errors import EvaluationError
from semla_ros.evaluation.page import Picture
from semla_ros.types import LabelArray, UInt8Array

IGNORED = 255
ERROR_RGB = (213, 94, 0)
"""Vermilion of Okabe and Ito: told from grey by everybody."""
COLUMNS = ("camera", "truth", "prediction", "error")


@dataclass(frozen=True, slots=True)
class BadFrame:
    """One frame that went wrong.

    Attributes:
        score: Its mIoU in [0, 1].
        caption: Where it is from.
        pictures: One for each of `COLUMNS`.
    """

    score: float
    caption: str
    pictures: tuple[Picture, ...]


class WorstFrames:
    """Keeps the frames with the lowest score; pictures are made only of those."""

    def __init__(
        self, colors: Sequence[tuple[int, int, int]], *, count: int = 12, width: int = 280
    ) -> None:
        """Start empty.

        Args:
            colors: RGB of each class.
            count: Frames to keep.
            width: Of each picture, pixels.
        """
        self._lut = np.full((256, 3), 60, np.uint8)
        self._lut[: len(colors)] = np.asarray(colors, np.uint8).reshape(-1, 3)
        self._count, self._width = count, width
        self._heap: list[tuple[float, int, BadFrame]] = []
        self._seen = 0

    def add(
        self, rgb: UInt8Array, truth: LabelArray, labels: LabelArray, score: float, caption: str
    ) -> None:
        """Take one frame; it is kept if it is among the worst. NaN is not scored: left out.

        Args:
            rgb: (H, W, 3) camera image.
            truth: (H, W) class ids, 255 ignored.
            labels: (H, W) class ids predicted.
            score: mIoU in [0, 1].
            caption: One line.

        Raises:
            EvaluationError: Sizes differ.
        """
        if not rgb.shape[:2] == truth.shape == labels.shape:
            raise EvaluationError(
                f"expected image, truth and labels of one size, got {rgb.shape[:2]}, "
                f"{truth.shape} and {labels.shape}"
            )
        self._seen += 1
        full = len(self._heap) >= self._count
        if np.isnan(score) or (full and -self._heap[0][0] <= score):
            return
        frame = BadFrame(score, caption, self._pictures(rgb, truth, labels))
        item = (-score, -self._seen, frame)
        if full:
            heapq.heapreplace(self._heap, item)
        else:
            heapq.heappush(self._heap, item)

    @property
    def frames(self) -> tuple[BadFrame, ...]:
        """The worst frames, lowest score first."""
        return tuple(item[2] for item in sorted(self._heap, key=lambda i: (-i[0], -i[1])))

    def _pictures(
        self, rgb: UInt8Array, truth: LabelArray, labels: LabelArray
    ) -> tuple[Picture, ...]:
        height = max(1, round(rgb.shape[0] * self._width / rgb.shape[1]))
        size = (self._width, height)
        camera = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
        wanted, got = (
            cv2.resize(
                np.minimum(x, IGNORED).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST
            )
            for x in (truth, labels)
        )
        gray = cv2.cvtColor(cv2.cvtColor(camera, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        error = (gray.astype(np.float32) * 0.6 + 90).astype(np.uint8)
        wrong = (wanted != got) & (wanted != IGNORED)
        error[wrong] = (0.25 * error[wrong] + 0.75 * np.array(ERROR_RGB)).astype(np.uint8)
        truth_rgb, mask_rgb = self._lut[wanted], self._lut[got]
        return (
            _picture(camera, ".jpg"),
            _picture(truth_rgb, ".png"),
            _picture(mask_rgb, ".png"),
            _picture(error, ".jpg"),
        )


def worst_grid(frames: Sequence[BadFrame]) -> str:
    """Return the frames as HTML, one row each; empty without any."""
    if not frames:
        return ""
    head = "".join(f"<span>{name}</span>" for name in COLUMNS)
    rows = []
    for frame in frames:
        images = "".join(
            f'<img src="{p.uri}" alt="{escape(f"{name}: {frame.caption}", quote=True)}">'
            for name, p in zip(COLUMNS, frame.pictures, strict=True)
        )
        caption = f"mIoU {100 * frame.score:.1f} %: {frame.caption}"
        rows.append(
            f'<figure class="worst">{images}<figcaption>{escape(caption)}</figcaption></figure>'
        )
    return f'<div class="worst-head">{head}</div>{"".join(rows)}'


def _picture(rgb: UInt8Array, kind: str) -> Picture:
    data = encoded(np.ascontiguousarray(rgb[..., ::-1]), kind, quality=78).tobytes()
    return Picture(data, "image/png" if kind == ".png" else "image/jpeg")
