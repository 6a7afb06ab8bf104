"""The official evaluation's text features: those of the first mix, for every mix after it."""

from __future__ import annotations

from collections.abc import Hashable

from semla_ros.core.types import Float32Array, Vocabulary
from semla_ros.core.weights import WeightSource
from semla_ros.engine.text import TextFeatures


class FirstMixText:
    """Text features that stay what they were when a class list was first asked for.

    Adapters change the text tower, so features belong to one mix. The official predictor keeps
    those of its first image and never asks again; its published numbers were measured that way.
    Comparing with them is the only use of this. A new class list is answered anew, where the
    official code would go on with the old one.

    Source: CATSegPredictor.get_text_embeds, whose cache nothing clears.
    """

    def __init__(self, text: TextFeatures) -> None:
        """Keep the first answers of `text`."""
        self._text = text
        self._kept: dict[tuple[str, ...], Float32Array] = {}

    def encode(
        self,
        vocabulary: Vocabulary,
        weights: WeightSource,
        *,
        key: Hashable | None = None,
    ) -> Float32Array:
        """Return text features (T, D) of the first weights given with this class list.

        Raises:
            SemlaError: See `TextEncoder.encode`.
        """
        names = vocabulary.names
        if names not in self._kept:
            self._kept[names] = self._text.encode(vocabulary, weights, key=key)
        return self._kept[names]
