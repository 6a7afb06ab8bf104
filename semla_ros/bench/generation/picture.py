"""Parameters of adapters on a plane: what was trained beside what was generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.types import Float32Array
from semla_ros.evaluation.drawing import BASE_COLOR, LINE_COLORS, figure, svg
from semla_ros.evaluation.extra import evaluate_extra

TRAINED, GENERATED, WEIGHTED = "trained", "generated", "weighted"
_MARKS = {TRAINED: "o", GENERATED: "^", WEIGHTED: "X"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """Vectors that are drawn alike.

    Attributes:
        task: Whose they are; empty: grey, and not in the legend.
        kind: Of `_MARKS`.
        vectors: (N, P).
    """

    task: str
    kind: str
    vectors: Float32Array


def draw_parameters(groups: Sequence[Drawn], *, seed: int) -> str:
    """Return the t-SNE of all vectors as SVG.

    Raises:
        MissingExtraError: scikit-learn or matplotlib is missing.

    Source: van der Maaten and Hinton, 2008; SG-LoRA, Figures 8 and 10.
    """
    manifold = evaluate_extra("sklearn.manifold")
    stacked = np.concatenate([group.vectors for group in groups])
    perplexity = min(30.0, (len(stacked) - 1) / 3)
    tsne = manifold.TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    places = np.split(
        tsne.fit_transform(stacked), np.cumsum([len(g.vectors) for g in groups])[:-1]
    )
    tasks = list(dict.fromkeys(group.task for group in groups if group.task))
    made, (axes,) = figure()
    for group, own in zip(groups, places, strict=True):
        known = bool(group.task)
        axes.scatter(
            *own.T,
            s=24,
            marker=_MARKS[group.kind],
            color=LINE_COLORS[tasks.index(group.task)] if known else BASE_COLOR,
            label=f"{group.task}, {group.kind}" if known else None,
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return svg(made, "Parameters of trained and generated adapters, t-SNE")
