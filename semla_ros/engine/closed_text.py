"""Text features of a network that takes none: its class list is closed."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.core.errors import VocabularyError
from semla_ros.core.types import Float32Array, Vocabulary
from semla_ros.core.weights import WeightSource
from semla_ros.engine.text import TextEncoder, TextFeatures, TextTower


class ClosedText:
    """Nothing to encode; refuses any classes but the bundle's."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Know these classes."""
        self._vocabulary = vocabulary

    def encode(
        self,
        vocabulary: Vocabulary,
        weights: WeightSource,
        *,
        key: Hashable | None = None,
    ) -> Float32Array:
        """Return (T, 0).

        Raises:
            VocabularyError: Other classes.
        """
        del weights, key
        require_known(vocabulary, self._vocabulary)
        return np.zeros((len(vocabulary.names), 0), np.float32)


def require_known(wanted: Vocabulary, known: Vocabulary) -> None:
    """Return if `wanted` are the classes that a network with a closed list was trained for.

    Raises:
        VocabularyError: Others, fewer, or in another order.
    """
    if wanted.names != known.names:
        raise VocabularyError(
            f"this network has a closed class list, the {len(known.names)} classes it was trained "
            "for, and reads no text: keep the bundle's classes, or take a bundle of family catseg"
        )


def open_text(
    bundle: ModelBundle, *, threads: int = 1, tower: TextTower | None = None
) -> TextFeatures:
    """Return what makes text features of `bundle`, see `TextEncoder`.

    Raises:
        BundleError: Its text encoder or tokenizer does not load.
    """
    if bundle.manifest.text is None:
        return ClosedText(bundle.manifest.vocabulary)
    return TextEncoder(bundle, threads=threads, tower=tower)
