"""The text half of the navigator's CLIP: descriptions of domains, compared with one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.manifest_checks import MAX_CONTEXT
from semla_ros.bundle.onnx_session import ORT_ERRORS, open_session
from semla_ros.bundle.tokenizer_file import encode_prompts, open_tokenizer
from semla_ros.core.errors import BundleError, VocabularyError
from semla_ros.core.types import Float32Array

ENCODER_KEY = "encoder"
"""Metadata of the graph: identity of the navigator whose text half it is."""


class TextEncoder(Protocol):
    """Turns texts into points that can be compared with one another; thread-safe."""

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return embeddings (T, E) float32 of length 1."""
        ...


class OnnxTextEncoder:
    """The bundle's `navigator_text.onnx` in ONNX Runtime, on the calling thread."""

    def __init__(self, bundle: ModelBundle) -> None:
        """Open graph and tokenizer.

        Raises:
            BundleError: There is none, it is of another navigator, or does not load.
        """
        spec, path = bundle.manifest.navigator, bundle.navigator_text
        if spec is None or not path.is_file():
            raise BundleError(
                f"bundle {bundle.manifest.name!r}: expected a navigator that reads text "
                f"({path.name}), got one that does not: import a CLIP as its navigator"
            )
        if path.name not in bundle.manifest.files:
            raise BundleError(f"{path.name} is not sealed in the manifest: rebuild the bundle")
        self._session = open_session(path, threads=1)
        known = self._session.get_modelmeta().custom_metadata_map.get(ENCODER_KEY)
        if known != spec.identity:
            raise BundleError(
                f"{path.name}: expected the text half of {spec.identity!r}, got that of "
                f"{known!r}: rebuild the bundle"
            )
        self._tokenizer = open_tokenizer(bundle.tokenizer)
        length = self._session.get_inputs()[0].shape[1]
        if not isinstance(length, int) or not 2 <= length <= MAX_CONTEXT:
            raise BundleError(
                f"{path.name}: expected texts of 2 to {MAX_CONTEXT} tokens, got {length!r}: "
                "rebuild the bundle"
            )
        self._length = length

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return embeddings (T, E) float32 of length 1; longer texts lose their end, as in CLIP.

        Raises:
            VocabularyError: A text that the tokenizer cannot read.
            BundleError: The graph fails.
        """
        tokens = np.zeros((len(texts), self._length), np.int64)
        for row, ids in zip(tokens, encode_prompts(self._tokenizer, texts), strict=True):
            kept = ids if len(ids) <= len(row) else [*ids[: len(row) - 1], ids[-1]]
            row[: len(kept)] = kept
        try:
            found = np.asarray(self._session.run(None, {"tokens": tokens})[0], np.float32)
        except ORT_ERRORS as error:
            raise BundleError(f"the navigator's text encoder failed: {error}") from error
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            raise VocabularyError(f"texts have no finite embedding: {list(texts)[:2]!r}")
        unit: Float32Array = found / lengths
        return unit
