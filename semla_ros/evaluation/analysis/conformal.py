"""A lower bound on mIoU from residuals: split conformal prediction, blocks weighted alike.

Frames of a drive resemble each other, so they are not exchangeable and n frames are not n
independent trials. Residuals therefore come from domains that the map has not seen, every block
(an unbroken stretch of one domain in one recording) weighs the same however long it is, and
coverage is not claimed from theory but measured on domains that had no part in map or offset.

Source: Vovk et al., "Algorithmic learning in a random world" (2005), for the split-conformal
quantile; Dunn, Wasserman and Ramdas, "Distribution-free prediction sets for two-layer
hierarchical models" (2022), for pooling groups by equal weight.
"""

from __future__ import annotations

import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import Float64Array
from semla_ros.evaluation.study.study import StrArray


def block_weights(blocks: StrArray) -> Float64Array:
    """Return (F,) weights that sum to 1 and give every block the same share."""
    _, which, counts = np.unique(blocks, return_inverse=True, return_counts=True)
    weights: Float64Array = 1.0 / (len(counts) * counts[which])
    return weights


def conformal_offset(residuals: Float64Array, blocks: StrArray, *, target: float) -> float:
    """Return the smallest offset with `residual <= offset` for a share of at least `target`.

    Each block weighs the same. With one frame a block this is the split-conformal quantile
    ceil((n + 1) target) / n: the missing share of one more block counts as an infinite residual.
    Where that share alone exceeds 1 - target (too few blocks for a guarantee) the largest
    residual is returned.

    Args:
        residuals: (F,) expected minus true mIoU of frames the map has not seen.
        blocks: (F,) which block each frame is of.
        target: In (0, 1).

    Raises:
        EvaluationError: No residual, one that is not finite, or an impossible target.
    """
    if not residuals.size or not np.isfinite(residuals).all() or not 0 < target < 1:
        raise EvaluationError(
            f"expected finite residuals and a target in 0..1, got {residuals.size} residuals and "
            f"target {target!r}: evaluate more frames with truth"
        )
    number = len(np.unique(blocks))
    order = np.argsort(residuals, kind="stable")
    reached = np.cumsum(block_weights(blocks)[order]) * number / (number + 1)
    place = int(np.searchsorted(reached, target - 1e-12))
    return float(residuals[order[min(place, len(order) - 1)]])


def coverage(lower: Float64Array, miou: Float64Array) -> float:
    """Return the share of frames whose mIoU is at or above the bound; NaN without frames."""
    return float((miou >= lower).mean()) if miou.size else float("nan")
