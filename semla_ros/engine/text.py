"""Text features of a class list, made with the text tower the active adapters call for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.onnx_session import ORT_ERRORS, open_session
from semla_ros.bundle.tokenizer_file import encode_prompts, open_tokenizer
from semla_ros.core.errors import BundleError, EngineError, VocabularyError
from semla_ros.core.types import Float32Array, Vocabulary
from semla_ros.core.weights import WeightSource
from semla_ros.engine.weights import TEXT_GRAPH, layers_of, shared_initializers

_BATCH = 64
_BASE_KEY = "base"


class TextFeatures(Protocol):
    """What the swapper needs of a text encoder."""

    def encode(
        self,
        vocabulary: Vocabulary,
        weights: WeightSource,
        *,
        key: Hashable | None = None,
    ) -> Float32Array:
        """Return text features (T, D); see `TextEncoder.encode`."""
        ...


TextTower = Callable[[npt.NDArray[np.int64], Mapping[str, Float32Array]], Float32Array]
"""From tokens (N, L) and initializer -> merged weight to features (N, D)."""


class TextEncoder:
    """The bundle's text tower; its adaptable weights are given with every call.

    Prompts are cropped to the longest one: attention in the tower is causal, so what stands
    after the end-of-text token cannot change the result.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        *,
        threads: int = 1,
        cache_size: int = 64,
        tower: TextTower | None = None,
    ) -> None:
        """Open graph and tokenizer.

        Args:
            bundle: Where they are.
            threads: 1 keeps the work on the calling (niced) thread; 0: all cores but one.
            cache_size: How many results are kept.
            tower: What runs the graph; None: ONNX Runtime.

        Raises:
            BundleError: There is none, or the graph or the tokenizer does not load.
        """
        spec = bundle.manifest.text
        if spec is None:
            raise BundleError("expected a bundle with a text encoder, got a closed class list")
        self._spec = spec
        if self._spec.template.count("{}") != 1:
            raise BundleError(
                f"expected a prompt template with one '{{}}', got {self._spec.template!r}"
            )
        self._layers = layers_of(bundle, TEXT_GRAPH)
        self._tower = tower or OnnxTextTower(bundle, threads=threads)
        self._tokenizer = open_tokenizer(bundle.tokenizer)
        self._cache: OrderedDict[Hashable, Float32Array] = OrderedDict()
        self._cache_size = cache_size
        self._lock = threading.Lock()
        self._buffers: dict[str, Float32Array] = {}
        self._tokens: tuple[tuple[str, ...], npt.NDArray[np.int64]] | None = None
        self._merging = threading.Lock()

    def encode(
        self,
        vocabulary: Vocabulary,
        weights: WeightSource,
        *,
        key: Hashable | None = None,
    ) -> Float32Array:
        """Return L2-normalised text features (T, D) float32, read-only, one row per class.

        Args:
            vocabulary: The classes; the prompt uses the part of a name before the first comma.
            weights: Of a mix; layers of other graphs are ignored.
            key: What identifies `weights`; results of equal key and class names are cached.
                Without text layers in `weights` the result is always cached.

        Raises:
            VocabularyError: A prompt is longer than the text tower's context.
            EngineError: The text tower failed.
            SemlaError: The merged text weights might not be finite.
        """
        touched = [name for name in self._layers if name in weights.names]
        if not touched:
            key = _BASE_KEY
        cache_key = None if key is None else (key, vocabulary.names)
        with self._lock:
            if cache_key is not None and cache_key in self._cache:
                self._cache.move_to_end(cache_key)
                return self._cache[cache_key]
        features = self._run(self.tokens(vocabulary), weights, touched)
        features.flags.writeable = False
        if cache_key is not None:
            with self._lock:
                self._cache[cache_key] = features
                while len(self._cache) > self._cache_size:
                    self._cache.popitem(last=False)
        return features

    def tokens(self, vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
        """Return token ids (T, L), zero after the end, L the length of the longest prompt.

        Those of the last class list are kept: every swap asks again, and the tokenizer has
        threads that do not share the caller's niceness.

        Raises:
            VocabularyError: A prompt has more tokens than the context.
        """
        if (known := self._tokens) is not None and known[0] == vocabulary.names:
            return known[1]
        prompts = [
            self._spec.template.replace("{}", name.split(",")[0].strip())
            for name in vocabulary.names
        ]
        ids = encode_prompts(self._tokenizer, prompts)
        longest = max(range(len(ids)), key=lambda i: len(ids[i]))
        length = len(ids[longest])
        if length > self._spec.context_length:
            raise VocabularyError(
                f"class {vocabulary.names[longest]!r}: expected a prompt of at most "
                f"{self._spec.context_length} tokens, got {length}: shorten the name"
            )
        tokens = np.zeros((len(ids), length), np.int64)
        for row, prompt in zip(tokens, ids, strict=True):
            row[: len(prompt)] = prompt
        tokens.flags.writeable = False
        self._tokens = (vocabulary.names, tokens)
        return tokens

    def _run(
        self,
        tokens: npt.NDArray[np.int64],
        weights: WeightSource,
        touched: Sequence[str],
    ) -> Float32Array:
        """Return the features of `tokens` with the layers `touched` from `weights`.

        The buffers of touched layers stay, so that later merges allocate nothing.
        """
        with self._merging:
            for name in touched:
                if name not in self._buffers:
                    self._buffers[name] = np.empty(self._layers[name].graph_shape, np.float32)
                turned = self._layers[name].transposed
                weights.write(name, out=self._buffers[name], transposed=turned)
            return self._features(
                tokens, {self._layers[name].initializer: self._buffers[name] for name in touched}
            )

    def _features(
        self, tokens: npt.NDArray[np.int64], merged: Mapping[str, Float32Array]
    ) -> Float32Array:
        batches = range(0, len(tokens), _BATCH)
        parts = [self._tower(tokens[start : start + _BATCH], merged) for start in batches]
        return np.concatenate(parts).astype(np.float32, copy=False)


class OnnxTextTower:
    """The text graph in ONNX Runtime; weights that are not given are W0."""

    def __init__(self, bundle: ModelBundle, *, threads: int) -> None:
        """Open the graph.

        Raises:
            BundleError: It does not load.
        """
        self._shared = shared_initializers(bundle, layers_of(bundle, TEXT_GRAPH))
        self._session = open_session(bundle.text_graph, threads=threads, shared=self._shared)

    def __call__(
        self, tokens: npt.NDArray[np.int64], merged: Mapping[str, Float32Array]
    ) -> Float32Array:
        """Return the features (N, D) float32 of `tokens` (N, L).

        Raises:
            EngineError: ONNX Runtime failed.
        """
        feed: dict[str, npt.NDArray[Any]] = {**merged, "tokens": tokens}
        try:
            features: Float32Array = self._session.run(["text_features"], feed)[0]
        except ORT_ERRORS as error:
            raise EngineError(f"the text encoder failed: {error}") from error
        return features
