"""Replacing the active weights without a frame noticing.

One request is outstanding at most; a newer one replaces it. The background fuses, merges, encodes
the class list and fills the engine's idle slot; the frame loop only publishes. Whatever fails,
the active set keeps serving and the failure is reported once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from semla_ros.answers import SwapEvent
from semla_ros.engine.base import SegmentationEngine
from semla_ros.engine.text import TextFeatures
from semla_ros.errors import AdapterError, EngineError, SemlaError
from semla_ros.library.fusion import WeightSource
from semla_ros.timing import StageTimer, now_ms
from semla_ros.types import BASE, AdapterMix, LoraAdapter, Vocabulary, WeightSet
from semla_ros.weight_set import make_weight_set

_LOG = logging.getLogger(__name__)

INITIAL = "initial"


class AdapterSource(Protocol):
    """What the swapper needs of a library."""

    def get(self, name: str) -> LoraAdapter:
        """Return the adapter `name`, or raise AdapterError."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """A wish for other weights or classes; `future` answers whoever asked."""

    mix: AdapterMix
    vocabulary: Vocabulary
    reason: str
    detection_ms: float = 0.0
    future: Future[SwapEvent] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How the background part of a request ended; an empty error means it can be committed."""

    request: _Request
    fuse_ms: float
    load_ms: float
    error: str


class AdapterSwapper:
    """Owns the way from a wanted mix to active weights.

    `request` and the properties may be used from any thread, `commit_ready` from the frame loop.
    """

    def __init__(
        self,
        engine: SegmentationEngine,
        library: AdapterSource,
        base_weights: WeightSource,
        text_encoder: TextFeatures,
        vocabulary: Vocabulary,
        executor: Executor,
    ) -> None:
        """Prepare and commit the base weights with `vocabulary`, then wait for requests.

        Raises:
            SemlaError: The base weights cannot be served; there is nothing to fall back to.
        """
        self._engine = engine
        self._base = base_weights
        self._text = text_encoder
        self._executor = executor
        self._lock = threading.Lock()
        self._library = library
        self._generation = 0
        self._unusable: dict[str, str] = {}
        self._outstanding: _Request | None = None
        self._outcome: _Outcome | None = None
        self._working = False
        self._closed = False
        first = _Request(AdapterMix.base_only(), vocabulary, INITIAL)
        self._load(first, StageTimer())
        engine.commit()
        self._active = first

    @property
    def active(self) -> AdapterMix:
        """The mix that serves."""
        return self._active.mix

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes that are served."""
        return self._active.vocabulary

    @property
    def target(self) -> AdapterMix:
        """The mix on its way, or the active one."""
        wanted = self._outstanding
        return self._active.mix if wanted is None else wanted.mix

    @property
    def busy(self) -> bool:
        """Whether a request has not been committed, failed or superseded yet."""
        return self._outstanding is not None

    @property
    def unusable(self) -> Mapping[str, str]:
        """Adapters that could not be loaded since the library was set, with the reason."""
        return MappingProxyType(self._unusable)

    @property
    def library(self) -> AdapterSource:
        """Where adapters come from; may be replaced at any time, also while preparing."""
        return self._library

    @library.setter
    def library(self, library: AdapterSource) -> None:
        with self._lock:
            self._library = library
            self._generation += 1
            self._unusable = {}

    def request(
        self,
        mix: AdapterMix,
        *,
        reason: str,
        stamp_ns: int,
        detection_ms: float = 0.0,
        vocabulary: Vocabulary | None = None,
    ) -> Future[SwapEvent]:
        """Return the future of a swap to `mix`, prepared in the background.

        A request that is still outstanding is superseded: it resolves with `committed=False` and
        is never published.

        Args:
            mix: Wanted.
            reason: See `SwapEvent.reason`.
            stamp_ns: Sensor time of the request.
            detection_ms: See `SwapEvent.detection_ms`.
            vocabulary: Other classes; by default those of the active set.
        """
        wanted = _Request(mix, vocabulary or self.vocabulary, reason, detection_ms)
        with self._lock:
            closed = self._closed
            if not closed:
                superseded, self._outstanding = self._outstanding, wanted
                self._outcome = None
                start, self._working = not self._working, True
        if closed:
            self._resolve(wanted, self._failed(wanted, stamp_ns, "the swapper is closed"))
            return wanted.future
        if superseded is not None:
            error = f"superseded by {reason} {mix.identity}"
            self._resolve(superseded, self._failed(superseded, stamp_ns, error))
        if start:
            self._executor.submit(self._work)
        return wanted.future

    def commit_ready(self, stamp_ns: int) -> SwapEvent | None:
        """Return what became of the outstanding request, None while there is nothing to tell.

        Publishes a prepared set, so call it between frames. Never waits for the background.
        """
        started = now_ms()
        with self._lock:
            outcome = self._outcome
            if outcome is None:
                return None
            self._outcome = self._outstanding = None
            event = self._publish(outcome, stamp_ns, started)
        if event.committed:
            _LOG.info("swap to %s (%s)", event.to_mix.identity, event.reason)
        else:
            _LOG.error("swap to %s failed: %s", event.to_mix.identity, event.error)
        self._resolve(outcome.request, event)
        return event

    def close(self) -> None:
        """Resolve the outstanding request as failed and take no more; the executor is left."""
        with self._lock:
            self._closed = True
            dropped, self._outstanding, self._outcome = self._outstanding, None, None
        if dropped is not None:
            self._resolve(dropped, self._failed(dropped, 0, "the swapper was closed"))

    def _publish(self, outcome: _Outcome, stamp_ns: int, started: float) -> SwapEvent:
        request, before, error = outcome.request, self._active, outcome.error
        if not error:
            try:
                self._engine.commit()
                self._active = request
            except SemlaError as failure:
                error = str(failure)
        return SwapEvent(
            stamp_ns=stamp_ns,
            from_mix=before.mix,
            to_mix=request.mix,
            reason=request.reason,
            committed=not error,
            error=error,
            detection_ms=request.detection_ms,
            fuse_ms=outcome.fuse_ms,
            load_ms=outcome.load_ms,
            stall_ms=now_ms() - started,
        )

    def _work(self) -> None:
        """Prepare the outstanding request, and again if it was superseded meanwhile."""
        while True:
            with self._lock:
                request = self._outstanding
                if request is None:
                    self._working = False
                    return
            outcome = self._prepared(request)
            with self._lock:
                if self._outstanding is request:
                    self._outcome = outcome
                    self._working = False
                    return

    def _prepared(self, request: _Request) -> _Outcome:
        timer, error = StageTimer(), ""
        try:
            self._load(request, timer)
        except SemlaError as failure:
            error = str(failure)
        except Exception as failure:  # noqa: BLE001  worker boundary: later swaps go on
            _LOG.exception("unexpected failure while preparing %s", request.mix.identity)
            error = f"{type(failure).__name__}: {failure}"
        spent = timer.durations_ms
        return _Outcome(request, spent.get("fuse", 0.0), spent.get("load", 0.0), error)

    def _load(self, request: _Request, timer: StageTimer) -> None:
        with timer.stage("fuse"):
            weight_set = self._weight_set(request)
        if self._outstanding is not None and self._outstanding is not request:
            raise EngineError("superseded while fusing")
        with timer.stage("load"):
            self._engine.prepare(weight_set)

    def _weight_set(self, request: _Request) -> WeightSet:
        with self._lock:
            library, generation = self._library, self._generation
        adapters = [self._adapter(library, name) for name in request.mix.names if name != BASE]
        return make_weight_set(
            request.mix,
            adapters,
            base=self._base,
            text=self._text,
            vocabulary=request.vocabulary,
            image_layers=self._engine.layers,
            key=(generation, request.mix),
        )

    def _adapter(self, library: AdapterSource, name: str) -> LoraAdapter:
        try:
            return library.get(name)
        except AdapterError as error:
            with self._lock:
                if library is self._library:
                    self._unusable = {**self._unusable, name: str(error)}
            raise

    def _failed(self, request: _Request, stamp_ns: int, error: str) -> SwapEvent:
        return SwapEvent(
            stamp_ns, self.active, request.mix, request.reason, committed=False, error=error
        )

    @staticmethod
    def _resolve(request: _Request, event: SwapEvent) -> None:
        """Answer whoever asked, unless they cancelled."""
        if request.future.set_running_or_notify_cancel():
            request.future.set_result(event)
