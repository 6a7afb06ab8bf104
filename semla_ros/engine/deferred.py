"""An engine that takes minutes to make, and another one that serves meanwhile.

Frames go to the first engine until the second is there with the same weight set; the change is one
assignment between two frames. Only while the second engine is made are weight sets kept.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from semla_ros.core.answers import Prediction
from semla_ros.core.errors import EngineError, SemlaError
from semla_ros.core.executors import lower_priority
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.core.weights import WeightSet
from semla_ros.engine.contract import (
    BUILDING,
    READY,
    EngineFacts,
    EngineStatus,
    SegmentationEngine,
    Slot,
    Tell,
)
from semla_ros.engine.weights import check_weight_set

if TYPE_CHECKING:
    from typing_extensions import Self

_LOG = logging.getLogger(__name__)

_PATIENCE_S = 2.0


class DeferredEngine:
    """Serves with one engine, then with another that is made in the background."""

    def __init__(
        self, first: SegmentationEngine, make: Callable[[Tell], SegmentationEngine], *, what: str
    ) -> None:
        """Serve with `first` and begin making the other engine on a thread of low priority.

        Args:
            first: Serves at once; closed when it is replaced.
            make: Returns the other engine, of the same graph; calls what it is given.
            what: Its name, for people.
        """
        self._current = first
        self._make = make
        self._what = what
        self._committed: WeightSet | None = None
        self._waiting: WeightSet | None = None
        self._made = self._closed = False
        self._keeps = True
        self._gate = threading.Lock()
        self._preparing = threading.Lock()
        self._inferring = threading.Lock()
        self._state = EngineStatus(BUILDING, first.facts.name, f"{what}: starting")
        self._thread = threading.Thread(target=self._work, name="semla-build", daemon=True)
        self._thread.start()

    @property
    def facts(self) -> EngineFacts:
        """Those of the engine that serves."""
        return self._current.facts

    @property
    def active(self) -> Slot | None:
        """What serves now."""
        return self._current.active

    @property
    def status(self) -> EngineStatus:
        """Building, with how far it is; then as the engine says that was made."""
        return self._current.status if self._made else self._state

    def prepare(self, weight_set: WeightSet) -> None:
        """Fill the idle slot of the engine that serves; see `SegmentationEngine.prepare`."""
        with self._preparing:
            self._require_open()
            check_weight_set(weight_set, self.facts)
            with self._gate:
                self._waiting = None
            self._current.prepare(weight_set)
            with self._gate:
                self._waiting = weight_set if self._keeps else None

    def commit(self) -> None:
        """Publish the prepared set; see `SegmentationEngine.commit`."""
        with self._gate:
            self._require_open()
            self._current.commit()
            self._committed, self._waiting = self._waiting, None

    def probe(self, weight_set: WeightSet, image: UInt8Array | Float32Array) -> Float32Array:
        """Return logits under `weight_set`; see `SegmentationEngine.probe`."""
        with self._preparing:
            self._require_open()
            with self._gate:
                self._waiting = None
            return self._current.probe(weight_set, image)

    def prove(self, image: UInt8Array) -> Float32Array | None:
        """Return logits under the prepared set; see `SegmentationEngine.prove`."""
        with self._preparing:
            self._require_open()
            return self._current.prove(image)

    def infer(self, rgb: UInt8Array, *, keep_logits: bool = False) -> Prediction:
        """Return the segmentation of `rgb`; see `SegmentationEngine.infer`."""
        with self._inferring:
            self._require_open()
            return self._current.infer(rgb, keep_logits=keep_logits)

    def logits(self, image: UInt8Array | Float32Array) -> Float32Array:
        """Return logits of `image`; see `SegmentationEngine.logits`."""
        with self._inferring:
            self._require_open()
            return self._current.logits(image)

    def close(self) -> None:
        """Release what serves; an engine still being made is closed when it is there."""
        with self._preparing:
            with self._gate:
                self._closed = True
                self._committed = self._waiting = None
            with self._inferring:
                self._current.close()
        self._thread.join(_PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._closed:
            raise EngineError(f"the {self.facts.name} engine is closed: create a new one")

    def _work(self) -> None:
        lower_priority()
        first = self._current
        try:
            engine = self._make(self._tell)
            try:
                replaced = self._hand_over(engine)
            except BaseException:
                engine.close()
                raise
        except Exception as error:  # noqa: BLE001  worker boundary: the first engine serves on
            self._give_up(error)
            return
        if replaced:
            _LOG.info("engine %s serves instead of %s", engine.facts.name, first.facts.name)
        (first if replaced else engine).close()

    def _tell(self, phase: str, done: int, total: int) -> bool:
        self._state = EngineStatus(
            BUILDING, self._current.facts.name, f"{self._what}: {phase} {done}/{total}"
        )
        return not self._closed

    def _give_up(self, error: Exception) -> None:
        text = str(error) if isinstance(error, SemlaError) else f"{type(error).__name__}: {error}"
        with self._gate:
            self._keeps = False
            self._committed = self._waiting = None
        serving = self._current.facts.name
        if not self._closed:
            _LOG.error("%s was not made, %s serves on: %s", self._what, serving, text)
        self._state = EngineStatus(READY, serving, f"{self._what} was not made: {text}")

    def _hand_over(self, engine: SegmentationEngine) -> bool:
        """Let `engine` serve what is served now; False if nobody wants it any more.

        Nothing is prepared meanwhile, but frames go on and a prepared set may be committed.

        Raises:
            EngineError: It is of another graph.
        """
        if (engine.facts.size, engine.facts.layers) != (self.facts.size, self.facts.layers):
            raise EngineError(
                f"expected an engine of the same graph, got side {engine.facts.size} and "
                f"{len(engine.facts.layers)} layers: rebuild the bundle"
            )
        with self._preparing:
            while True:
                with self._gate:
                    committed, waiting = self._committed, self._waiting
                if committed is not None:
                    engine.prepare(committed)
                    engine.commit()
                if waiting is not None:
                    engine.prepare(waiting)
                with self._inferring, self._gate:
                    if self._closed:
                        return False
                    if committed is self._committed and waiting is self._waiting:
                        self._current, self._made, self._keeps = engine, True, False
                        self._committed = self._waiting = None
                        return True
