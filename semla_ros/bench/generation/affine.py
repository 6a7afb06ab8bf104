"""Weights that may be negative: the affine map from descriptions to adapters, fitted by ridge.

"Snow at night" is then snow by day, and night without snow, less a clear day: the analogies of
task arithmetic (Ilharco et al., 2023), with the coefficients read from the texts.
"""

from __future__ import annotations

import numpy as np

from semla_ros.core.types import Float64Array

RIDGE = 0.1
"""Share of the mean squared spread of the descriptions."""


def affine_weights(target: Float64Array, descriptions: Float64Array) -> Float64Array:
    """Return the weight of each expert, (E,) of sum 1 and any sign.

    Kernel ridge regression with a linear kernel on centred descriptions: whatever the experts
    have (centroids, changes), its prediction at `target` is the sum with these weights.

    Args:
        target: (D,).
        descriptions: (E, D), two or more.
    """
    count = len(descriptions)
    middle = descriptions.mean(axis=0)
    away = descriptions - middle
    kernel = away @ away.T
    ridge = RIDGE * float(np.trace(kernel)) / count
    solved = np.linalg.solve(kernel + ridge * np.eye(count), away @ (target - middle))
    weights: Float64Array = 1.0 / count + solved - solved.mean()
    return weights
