"""What a mask says about itself: a few numbers of its labels and confidence, microseconds a frame.

They are of the frame that is published, not of the newest one the navigator has seen.
"""

from __future__ import annotations

import numpy as np

from semla_ros.core.types import LabelArray, UInt8Array

SIGNALS = ("confidence", "class_confidence", "class_entropy", "classes")
"""Names of the signals, see `mask_signals`."""
GRID = 128
"""The signals are of a regular grid of pixels, at most so many along a side: maps of the network
are interpolated from coarser ones, so that more pixels cost time and say nothing."""
PRESENT = 0.002
"""Share of the mask from which on a class counts as seen."""


def mask_signals(labels: LabelArray, confidence: UInt8Array) -> tuple[float, ...]:
    """Return the signals of a mask, one for each of `SIGNALS`, all finite.

    `confidence`: mean over the mask, 0..1. `class_confidence`: mean over the classes seen of
    their mean, 0..1; small classes count as mIoU counts them. `class_entropy`: of the classes'
    shares of the mask, nats; a mask that has collapsed to few classes has little. `classes`: how
    many are seen.

    Args:
        labels: (H, W) class ids at network resolution.
        confidence: (H, W), 255 is certain.
    """
    step = tuple(-(-side // GRID) for side in labels.shape)
    ids = labels[:: step[0], :: step[1]].ravel().astype(np.intp)
    sure = confidence[:: step[0], :: step[1]].ravel()
    counts = np.bincount(ids)
    sums = np.bincount(ids, weights=sure)
    shares = counts / ids.size
    seen = shares >= PRESENT
    some = shares[shares > 0]
    return (
        float(sums.sum()) / (255.0 * ids.size),
        float((sums[seen] / counts[seen]).mean()) / 255.0,
        abs(float((some * np.log(some)).sum())),
        float(seen.sum()),
    )
