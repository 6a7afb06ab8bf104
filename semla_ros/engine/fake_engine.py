"""An engine without a network, for tests and for trying the plumbing: colours decide.

It keeps the whole contract, checks included, and can be told to fail at any step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

import cv2
import numpy as np

from semla_ros.bundle import GraphWeight, ModelBundle
from semla_ros.core.errors import ConfigError, EngineError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.core.weights import WeightSet, array_of
from semla_ros.engine.contract import EngineFacts, Slot
from semla_ros.engine.options import ASKED_FOR, EngineOptions
from semla_ros.engine.slots import TwoSlotEngine
from semla_ros.engine.weights import SEGMENTATION_GRAPH, layers_of

STEPS: tuple[str, ...] = ("prepare", "write", "commit", "infer")
"""Where `fail_at` can strike: before writing, half-way through, at publication, on a frame."""

_MAP_DIVISOR = 4

_LOOKS: tuple[tuple[str, ...], ...] = (
    ("road", "sidewalk", "ground"),
    ("building", "wall", "fence"),
    ("vegetation", "tree", "terrain", "grass"),
    ("sky",),
    ("car", "truck", "bus", "vehicle"),
    ("person", "rider", "pedestrian"),
)
"""Class names that fit each look: dark grey, bright grey, green, blue, saturated red, other."""


class FakeEngine(TwoSlotEngine):
    """Deterministic labels from colour thresholds; the weights only move the confidence."""

    def __init__(
        self,
        layers: Mapping[str, GraphWeight] | None = None,
        *,
        size: tuple[int, int] = (64, 64),
        feature_dim: int | None = None,
        fail_at: Collection[str] = (),
        reason: str = ASKED_FOR,
    ) -> None:
        """Make an engine that needs no files.

        Args:
            layers: Adaptable layers it should check weights against.
            size: (H, W) of its input.
            feature_dim: Expected width of text features; None accepts any.
            fail_at: Steps that raise EngineError, of `STEPS`; see `fail_at`.
            reason: Why it is this engine.
        """
        super().__init__(EngineFacts("fake", layers or {}, size, feature_dim, reason=reason))
        self._fail_at: frozenset[str] = frozenset()
        self.fail_at = fail_at
        self._slots: list[tuple[float, tuple[str, ...]]] = [(0.0, ()), (0.0, ())]

    @property
    def fail_at(self) -> Collection[str]:
        """Steps that raise EngineError until this is set to something else."""
        return self._fail_at

    @fail_at.setter
    def fail_at(self, steps: Collection[str]) -> None:
        unknown = set(steps) - set(STEPS)
        if unknown:
            raise ConfigError(f"expected steps of {STEPS!r}, got {sorted(unknown)!r}")
        self._fail_at = frozenset(steps)

    def _prepare_impl(self, index: int, weight_set: WeightSet) -> None:
        self._fail("prepare")
        names = weight_set.vocabulary.names
        self._slots[index] = (0.0, names)
        self._fail("write")
        weights = weight_set.weights
        total = sum(float(np.abs(array_of(weights, name)).mean()) for name in weights.names)
        total += float(np.abs(weight_set.text_features).mean())
        self._slots[index] = (total, names)

    def _commit_impl(self, slot: Slot) -> None:
        del slot
        self._fail("commit")

    def _infer_impl(self, index: int, rgb: UInt8Array | Float32Array) -> Float32Array:
        self._fail("infer")
        return self._logits(index, rgb)

    def _logits(self, index: int, rgb: UInt8Array | Float32Array) -> Float32Array:
        strength, names = self._slots[index]
        height, width = (max(1, side // _MAP_DIVISOR) for side in self.facts.size)
        rounded = rgb if rgb.dtype == np.uint8 else np.rint(rgb).astype(np.uint8)
        resized = cv2.resize(rounded, (width, height), interpolation=cv2.INTER_AREA)
        small = cast(UInt8Array, resized)
        classes = _classes_of_looks(names)[looks(small)]
        logits = np.full((len(names), height, width), -2.0, np.float32)
        np.put_along_axis(logits, classes[None], np.float32(1.0 + np.tanh(strength)), axis=0)
        return logits

    def _prove_impl(self, index: int, image: UInt8Array) -> Float32Array | None:
        return self._logits(index, image)

    def _close_impl(self) -> None:
        self._slots.clear()

    def _fail(self, step: str) -> None:
        if step in self._fail_at:
            raise EngineError(f"the fake engine was told to fail at {step!r}")


def open_engine(bundle: ModelBundle, *, options: EngineOptions) -> FakeEngine:
    """Return an engine with the sizes and layers of `bundle`."""
    layers = layers_of(bundle, SEGMENTATION_GRAPH)
    return FakeEngine(layers, size=bundle.manifest.segmentation.shape, reason=options.reason)


def looks(rgb: UInt8Array) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """Return which look of `_LOOKS` each pixel of `rgb` (H, W, 3) has, (H, W)."""
    red, green, blue = (rgb[..., i].astype(np.int16) for i in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    spread = value - np.minimum(np.minimum(red, green), blue)
    tests = (
        (spread < 24) & (value < 128),
        spread < 24,
        (green >= red) & (green >= blue),
        blue >= red,
        spread > 80,
    )
    return np.select(tests, range(len(tests)), default=len(tests))


def _classes_of_looks(
    names: tuple[str, ...],
) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """Return a class id for each look: the first fitting name, else spread over the classes."""
    first = [name.split(",")[0].strip().lower() for name in names]
    ids = [
        next((first.index(word) for word in words if word in first), look % len(names))
        for look, words in enumerate(_LOOKS)
    ]
    return np.asarray(ids, np.intp)
