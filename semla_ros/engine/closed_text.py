"""Text features of a network that takes none: its class list is closed."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from semla_ros.bundle import Manifest, ModelBundle
from semla_ros.core.errors import VocabularyError
from semla_ros.core.types import Float32Array, Vocabulary
from semla_ros.core.weights import WeightSource
from semla_ros.engine.text import TextEncoder, TextFeatures, TextTower


class ClosedText:
    """Nothing to encode; refuses any classes but the bundle's."""

    def __init__(self, manifest: Manifest) -> None:
        """Know the classes of `manifest`."""
        self._manifest = manifest

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
        require_known(vocabulary, self._manifest)
        return np.zeros((len(vocabulary.names), 0), np.float32)


def require_known(wanted: Vocabulary, manifest: Manifest) -> None:
    """Return if the network of `manifest` tells the classes `wanted` apart.

    Raises:
        VocabularyError: Its list is closed, and these are others, fewer, or in another order.
    """
    known = manifest.vocabulary
    if manifest.text is None and wanted.names != known.names:
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
        return ClosedText(bundle.manifest)
    return TextEncoder(bundle, threads=threads, tower=tower)
