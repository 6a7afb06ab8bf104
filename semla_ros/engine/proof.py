"""Is a weight set fit to serve? Held against what served before, on one and the same image.

`semla bench proof` measures both limits; docs/hotloading.md has its table.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from semla_ros.bundle import SIGMOID
from semla_ros.core.answers import Prediction
from semla_ros.core.types import (
    AdapterMix,
    Float32Array,
    Float64Array,
    LabelArray,
    LoraAdapter,
    LoraLayer,
    UInt8Array,
    Vocabulary,
)
from semla_ros.engine.contract import SegmentationEngine
from semla_ros.engine.postprocess import labels_from_logits

TAKEN_OVER = 0.9
"""Share of the picture from which one class has taken it over."""

SUDDEN = 0.3
"""By how much that share must exceed the largest before: a camera may look at nothing but sky."""

MAX_CHANGE = 3.0
"""Largest norm of an adapter's change of one layer, relative to that layer's own weights."""

NOTICED = 0.1
"""Share of the mask that must change before a change beyond `MAX_CHANGE` is held against it."""

_BLOCK = 8
_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Witness:
    """An image, and how what served before divided it among the classes.

    Attributes:
        rgb: (H, W, 3) uint8.
        labels: Class ids of its pixels, at any size.
        names: The classes.
    """

    rgb: UInt8Array
    labels: LabelArray
    names: tuple[str, ...]

    def squashed(self, size: tuple[int, int]) -> UInt8Array:
        """Return the image; where it is larger, at the network's `size` (H, W)."""
        if max(self.rgb.shape[:2]) <= max(size):
            return self.rgb
        small = cv2.resize(self.rgb, size[::-1], interpolation=cv2.INTER_LINEAR)
        return cast(UInt8Array, small)


def golden_image(size: tuple[int, int]) -> UInt8Array:
    """Return coarse noise (H, W, 3), the same everywhere: what there is before the first frame."""
    height, width = size
    blocks = (math.ceil(height / _BLOCK), math.ceil(width / _BLOCK), 3)
    coarse = np.random.default_rng(0).integers(0, 256, blocks, dtype=np.uint8)
    image = np.repeat(np.repeat(coarse, _BLOCK, 0), _BLOCK, 1)[:height, :width]
    return np.ascontiguousarray(image)


def shares_of(labels: LabelArray, classes: int) -> Float64Array:
    """Return the share of pixels that each class has, (T,)."""
    counts = np.bincount(labels.ravel(), minlength=classes)
    return counts / max(1, labels.size)


def takeover(before: Float64Array, after: Float64Array) -> int | None:
    """Return the class that has taken the picture over, None where none has.

    Args:
        before: (T,) shares under what served before.
        after: The same under what shall serve.
    """
    top = int(after.argmax())
    taken = after[top] >= TAKEN_OVER and after[top] - before.max() >= SUDDEN
    return top if taken else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an image says about a prepared set.

    Attributes:
        collapse: What is wrong with the answer to it, empty: nothing.
        changed: Share of its pixels that have another class than before; 1 where no image could
            be had, 0 where the classes are others: then nothing can be held against the set.
        clear: Whether the image could have told: it has the same classes, and more than one.
    """

    collapse: str = ""
    changed: float = 1.0
    clear: bool = True


def judged(
    witness: Witness, logits: Float32Array, names: tuple[str, ...], *, activation: str = SIGMOID
) -> Verdict:
    """Return the verdict on the answer `logits` (T, h, w), classes `names`, to the witness."""
    if not np.isfinite(logits).all():
        return Verdict("makes the network's answer not finite")
    if names != witness.names:
        return Verdict(changed=0.0, clear=False)
    before = witness.labels
    size = (before.shape[0], before.shape[1])
    labels = labels_from_logits(logits, size, activation=activation).labels
    changed = float((before != labels).mean())
    old, new = shares_of(before, len(names)), shares_of(labels, len(names))
    top = takeover(old, new)
    if top is None:
        return Verdict(changed=changed, clear=bool(old.max() <= 1 - SUDDEN))
    return Verdict(
        f"makes {100 * new[top]:.0f} % of the picture {names[top]} where "
        f"{100 * old[top]:.0f} % was before",
        changed,
    )


def overgrown(
    adapter: LoraAdapter, base: Callable[[str], Float32Array], norms: dict[str, float]
) -> str:
    """Return which layer `adapter` changes beyond `MAX_CHANGE`, empty: none.

    Args:
        adapter: Finite.
        base: W0 of a layer.
        norms: Frobenius norms of W0 found so far; filled.
    """
    worst, where = 0.0, ""
    for name, layer in adapter.layers.items():
        if name not in norms:
            norms[name] = float(np.linalg.norm(base(name)))
        relative = change_norm(layer) / norms[name] if norms[name] else 0.0
        if relative > worst:
            worst, where = relative, name
    if worst <= MAX_CHANGE:
        return ""
    return (
        f"changes {where} by {worst:.3g} times its own weights, where {MAX_CHANGE:g} is the most "
        "that is believed"
    )


def change_norm(layer: LoraLayer) -> float:
    """Return the Frobenius norm of scaling * B @ A, from products of rank by rank."""
    a, b = layer.lora_a.astype(np.float64), layer.lora_b.astype(np.float64)
    squared = float(((a @ a.T) * (b.T @ b)).sum())
    return abs(layer.scaling) * math.sqrt(max(0.0, squared))


class SwapProof:
    """What prepared sets are held against; `saw` is the frame loop's, the rest one thread's."""

    def __init__(self, engine: SegmentationEngine, base: Callable[[str], Float32Array]) -> None:
        """Have seen nothing.

        Args:
            engine: Whose prepared sets are proved.
            base: W0 of a layer.
        """
        self._engine = engine
        self._base = base
        self._norms: dict[str, float] = {}
        self._witness: Witness | None = None
        self._proved: OrderedDict[tuple[AdapterMix, tuple[str, ...], int], None] = OrderedDict()

    def begin(self, vocabulary: Vocabulary) -> None:
        """Take the golden image under the prepared set, the base, for the first witness.

        Raises:
            EngineError: The network failed, or its answer is not finite.
        """
        image = golden_image(self._engine.facts.size)
        logits = self._engine.prove(image)
        if logits is not None:
            self._witness = Witness(image, labels_of(logits), vocabulary.names)

    def saw(self, rgb: UInt8Array, prediction: Prediction) -> None:
        """Take note of the newest segmented frame; costs nothing."""
        self._witness = Witness(rgb, prediction.labels, prediction.vocabulary.names)

    def knows(self, mix: AdapterMix, vocabulary: Vocabulary, generation: int) -> bool:
        """Return whether `mix` needs no proof: it is the base, or was proved not long ago."""
        return not mix.adapted or (mix, vocabulary.names, generation) in self._proved

    def passed(self, mix: AdapterMix, vocabulary: Vocabulary, generation: int) -> None:
        """Remember that `mix` of the library of this `generation` was proved."""
        self._proved[mix, vocabulary.names, generation] = None
        while len(self._proved) > _REMEMBERED:
            self._proved.popitem(last=False)

    def picture(self, vocabulary: Vocabulary) -> Verdict:
        """Return what the newest image says about the prepared set.

        Raises:
            EngineError: The network failed.
        """
        witness = self._witness
        if witness is None:
            return Verdict()
        facts = self._engine.facts
        logits = self._engine.prove(witness.squashed(facts.size))
        if logits is None:
            return Verdict()
        return judged(witness, logits, vocabulary.names, activation=facts.activation)

    def weights(self, adapter: LoraAdapter) -> str:
        """Return what is wrong with the factors of `adapter`, empty: nothing."""
        return overgrown(adapter, self._base, self._norms)


def labels_of(logits: Float32Array) -> LabelArray:
    """Return the class of every pixel of `logits` (T, h, w), at their size.

    Raises:
        EngineError: A logit is not finite.
    """
    height, width = logits.shape[1:]
    return labels_from_logits(logits, (height, width)).labels
