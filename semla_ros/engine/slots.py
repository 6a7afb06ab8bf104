"""Two slots that take turns: how every runtime keeps the contract of engines.

They hold weights and text features. One serves; the other may be rewritten by `prepare` on
any thread, for as long as no frame is still being computed with it. `commit` publishes the
prepared slot by one assignment. A set that failed to prepare is never published.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from semla_ros.core.answers import Prediction
from semla_ros.core.errors import EngineError, FrameError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.core.weights import WeightSet
from semla_ros.engine.contract import READY, EngineFacts, EngineStatus, Slot
from semla_ros.engine.postprocess import LabelBuffers
from semla_ros.engine.weights import check_weight_set

if TYPE_CHECKING:
    from typing_extensions import Self

_SLOTS = 2
_DRAIN_TIMEOUT_S = 60.0


class TwoSlotEngine(ABC):
    """The contract of `SegmentationEngine` with two slots; each runtime is a subclass.

    Subclasses fill buffers (`_prepare_impl`) and compute logits (`_infer_impl`), where their graph
    gives it with the navigator's answer (1, E) in `_embedding`; the rest is here.

    Attributes:
        facts: What it is.
    """

    def __init__(self, facts: EngineFacts) -> None:
        """Have two empty slots."""
        self.facts = facts
        self._labels = LabelBuffers(facts.size, activation=facts.activation)
        self._embedding: Float32Array | None = None
        self._active: Slot | None = None
        self._prepared: Slot | None = None
        self._readers = [0] * _SLOTS
        self._gate = threading.Condition()
        self._preparing = threading.Lock()
        self._inferring = threading.Lock()
        self._closed = False

    @property
    def active(self) -> Slot | None:
        """What serves now; None before the first commit."""
        return self._active

    @property
    def status(self) -> EngineStatus:
        """How the engine is; any thread may ask."""
        return EngineStatus(READY, self.facts.name)

    def prepare(self, weight_set: WeightSet) -> None:
        """Fill the idle slot, see `SegmentationEngine.prepare`."""
        self._check(weight_set)
        with self._preparing:
            index = self._claim_idle()
            self._prepare_impl(index, weight_set)
            with self._gate:
                self._prepared = Slot(index, weight_set.mix, weight_set.vocabulary)

    def commit(self) -> None:
        """Publish the prepared set, see `SegmentationEngine.commit`."""
        with self._gate:
            self._require_open()
            if self._prepared is None:
                raise EngineError("commit without a prepared weight set: call prepare first")
            self._commit_impl(self._prepared)
            self._active, self._prepared = self._prepared, None

    def probe(self, weight_set: WeightSet, image: UInt8Array | Float32Array) -> Float32Array:
        """Return logits under `weight_set`, see `SegmentationEngine.probe`."""
        self._check(weight_set)
        with self._preparing:
            index = self._claim_idle()
            self._prepare_impl(index, weight_set)
            with self._inferring:
                logits: Float32Array = self._infer_impl(index, image).copy()
        return logits

    def prove(self, image: UInt8Array) -> Float32Array | None:
        """Return logits under the prepared set, see `SegmentationEngine.prove`."""
        with self._preparing:
            self._require_open()
            if (slot := self._prepared) is None:
                raise EngineError("prove without a prepared weight set: call prepare first")
            return self._prove_impl(slot.index, image)

    def infer(self, rgb: UInt8Array, *, keep_logits: bool = False) -> Prediction:
        """Return the segmentation of `rgb`, see `SegmentationEngine.infer`."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise FrameError(
                f"expected an image (H, W, 3) of uint8, H, W >= 1, got {rgb.shape} of {rgb.dtype}"
            )
        with self._reading() as slot, self._inferring:
            logits = self._infer_impl(slot.index, rgb)
            labels, confidence = self._labels.from_logits(logits)
            kept = logits.copy() if keep_logits else None
            embedding = None if self._embedding is None else self._embedding[0].copy()
        return Prediction(labels, confidence, slot.mix, slot.vocabulary, kept, embedding)

    def logits(self, image: UInt8Array | Float32Array) -> Float32Array:
        """Return logits of `image`, see `SegmentationEngine.logits`."""
        sane = image.ndim == 3 and image.shape[2] == 3 and 0 not in image.shape
        if not sane or image.dtype not in (np.uint8, np.float32):
            raise FrameError(
                f"expected an image (H, W, 3) of uint8 or float32, H, W >= 1, got {image.shape} "
                f"of {image.dtype}"
            )
        with self._reading() as slot, self._inferring:
            logits: Float32Array = self._infer_impl(slot.index, image).copy()
        return logits

    def close(self) -> None:
        """Release the engine, see `SegmentationEngine.close`."""
        with self._preparing, self._gate:
            if self._closed:
                return
            self._closed = True
            self._active = self._prepared = None
            self._gate.wait_for(lambda: not any(self._readers), _DRAIN_TIMEOUT_S)
            with self._inferring:  # after the gate, as a commit may take it
                self._close_impl()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def _prepare_impl(self, index: int, weight_set: WeightSet) -> None:
        """Fill buffer `index`; layers missing in the set get the base weight back."""

    @abstractmethod
    def _infer_impl(self, index: int, rgb: UInt8Array | Float32Array) -> Float32Array:
        """Return logits (T, h, w) of `rgb` with buffer `index`; may be reused by the next call."""

    @abstractmethod
    def _close_impl(self) -> None:
        """Release buffers and sessions."""

    def _prove_impl(self, index: int, image: UInt8Array) -> Float32Array | None:
        """Return logits of `image` with buffer `index` without touching what frames use."""
        del index, image
        return None

    def _commit_impl(self, slot: Slot) -> None:  # noqa: B027  most engines publish by assignment
        """Do what publishing `slot` needs beyond the assignment."""

    def _check(self, weight_set: WeightSet) -> None:
        check_weight_set(weight_set, self.facts)

    def _claim_idle(self) -> int:
        """Return the slot that does not serve, once no frame is computed with it any more."""
        with self._gate:
            self._require_open()
            self._prepared = None
            index = 0 if self._active is None else 1 - self._active.index
            if not self._gate.wait_for(lambda: self._readers[index] == 0, _DRAIN_TIMEOUT_S):
                raise EngineError(
                    f"a frame has been using the old weights for over {_DRAIN_TIMEOUT_S} s: "
                    "the inference thread hangs"
                )
            return index

    @contextmanager
    def _reading(self) -> Iterator[Slot]:
        with self._gate:
            self._require_open()
            slot = self._active
            if slot is None:
                raise EngineError("infer before the first commit: prepare and commit a set first")
            self._readers[slot.index] += 1
        try:
            yield slot
        finally:
            with self._gate:
                self._readers[slot.index] -= 1
                self._gate.notify_all()

    def _require_open(self) -> None:
        if self._closed:
            raise EngineError(f"the {self.facts.name} engine is closed: create a new one")
