"""Replacing the active weights without a frame noticing.

| name | what it is | made by |
| --- | --- | --- |
| `AdapterMix` | which adapters, in which proportion | retrieval, policy or a person |
| `SwapRequest` | a mix wanted with a class list, a library, a reason | `AdapterSwapper.request` |
| `WeightSet` | text features, and the source that writes merged weights | `make_weight_set` |
| `Slot` | where the engine has written a set; the idle one is published whole | `engine.prepare` |
| `SwapEvent` | what became of the request | `AdapterSwapper.commit_ready` |

One request is outstanding at most; a newer one replaces it. The background fuses, merges, encodes
the class list, fills the engine's idle slot and proves it; the frame loop only publishes. Whatever
fails, the active set keeps serving and the failure is reported once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from functools import partial

from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.answers import Prediction, SwapEvent
from semla_ros.core.streaks import Streaks
from semla_ros.core.timing import StageTimer, now_ms
from semla_ros.core.types import AdapterMix, UInt8Array, Vocabulary
from semla_ros.engine.contract import SegmentationEngine
from semla_ros.engine.text import TextFeatures
from semla_ros.library.library import AdapterLibrary
from semla_ros.pipeline.adapter_access import AdapterAccess
from semla_ros.pipeline.swap_request import SwapRequest
from semla_ros.pipeline.weight_set import SetPreparer

_LOG = logging.getLogger(__name__)


class AdapterSwapper:
    """Owns the way from a wanted mix to active weights.

    `request` and the properties may be used from any thread, `commit_ready` from the frame loop.
    """

    def __init__(
        self,
        engine: SegmentationEngine,
        library: AdapterLibrary,
        base_weights: BaseWeights,
        text_encoder: TextFeatures,
        vocabulary: Vocabulary,
        executor: Executor,
    ) -> None:
        """Prepare and commit the base weights with `vocabulary`, then wait for requests.

        Raises:
            SemlaError: The base weights cannot be served; there is nothing to fall back to.
        """
        self._engine = engine
        self._preparer = SetPreparer(engine, base_weights, text_encoder)
        self._executor = executor
        self._lock = threading.Lock()
        self._outstanding: SwapRequest | None = None
        self._streaks = Streaks()
        self._working = False
        self._closed = False
        base = AdapterMix.base_only()
        self._active = SwapRequest(base, vocabulary, AdapterAccess(library), "initial")
        self._preparer.load(self._active, StageTimer())
        self._preparer.proof.begin(vocabulary)
        engine.commit()

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
        wanted = self._wish()
        return self._active.mix if wanted is None else wanted.mix

    @property
    def busy(self) -> bool:
        """Whether a request has not been committed, failed, superseded or withdrawn yet."""
        return self._wish() is not None

    @property
    def access(self) -> AdapterAccess:
        """Where the adapters of the active set come from."""
        return self._active.access

    @property
    def unusable(self) -> Mapping[str, str]:
        """Adapters that cannot be loaded at the moment, or failed their proof, with the reason."""
        return self._active.access.failing

    def saw(self, rgb: UInt8Array, prediction: Prediction) -> Prediction:
        """Return `prediction`, noted: what is prepared is proved on the newest; costs nothing."""
        self._preparer.proof.saw(rgb, prediction)
        return prediction

    def request(
        self,
        mix: AdapterMix,
        *,
        reason: str,
        stamp_ns: int,
        detection_ms: float = 0.0,
        vocabulary: Vocabulary | None = None,
        library: AdapterLibrary | None = None,
        proved: bool = True,
    ) -> Future[SwapEvent]:
        """Return the future of a swap to `mix`, prepared in the background.

        A request that is still outstanding is superseded: it resolves with `committed=False` and
        is never published. Neither is one whose future was cancelled; `cancel` returns False once
        it is too late.

        Args:
            mix: Wanted.
            reason: See `SwapEvent.reason`.
            stamp_ns: Sensor time of the request.
            detection_ms: See `SwapEvent.detection_ms`.
            vocabulary: Other classes; by default those of the active set.
            library: Where adapters come from, with this swap and from then on.
            proved: Whether it must be proved; False serves whatever loads, for studies.
        """
        with self._lock:
            access = self._active.access if library is None else AdapterAccess(library)
            classes = vocabulary or self.vocabulary
            wanted = SwapRequest(mix, classes, access, reason, detection_ms, proved)
            closed, superseded, start = self._closed, None, False
            if not closed:
                superseded, self._outstanding = self._outstanding, wanted
                start = self._must_start()
        if closed:
            wanted.dropped(self.active, stamp_ns, "the swapper is closed")
            return wanted.future
        if superseded is not None:
            superseded.dropped(self.active, stamp_ns, f"superseded by {reason} {mix.identity}")
        if start:
            self._executor.submit(self._work)
        return wanted.future

    def commit_ready(
        self, stamp_ns: int, *, then: Callable[[SwapEvent], None] = lambda _: None
    ) -> SwapEvent | None:
        """Return what became of the outstanding request, None while there is nothing to tell.

        Publishes a prepared set, so call it between frames. Never waits for the background.

        Args:
            stamp_ns: Sensor time.
            then: Called with the event before whoever asked has the answer.
        """
        started = now_ms()
        with self._lock:
            request = self._wish()
            if request is None or not request.ended:
                return None
            self._outstanding = None
            if not request.future.set_running_or_notify_cancel():
                return None  # withdrawn this moment
            before = self._active.mix
            error = self._publish(request)
        stall_ms = now_ms() - started
        event = request.event(before, stamp_ns=stamp_ns, stall_ms=stall_ms, error=error)
        if event.committed:
            _LOG.info("swap to %s (%s)", event.to_mix.identity, event.reason)
        elif self._streaks.begins(event.reason, event.error):
            _LOG.error("swap to %s failed: %s", event.to_mix.identity, event.error)
        try:
            then(event)
        finally:
            request.future.set_result(event)
        return event

    def close(self) -> None:
        """Resolve the outstanding request as failed and take no more; the executor is left."""
        with self._lock:
            self._closed = True
            dropped, self._outstanding = self._outstanding, None
        if dropped is not None:
            dropped.dropped(self.active, 0, "the swapper was closed")

    def _must_start(self) -> bool:
        """Return whether the background has to be woken for the next request; lock held."""
        start = not self._working and self._next() is not None
        self._working = self._working or start
        return start

    def _wish(self) -> SwapRequest | None:
        """Return the outstanding request, unless whoever asked has withdrawn it."""
        request = self._outstanding
        return None if request is None or request.future.cancelled() else request

    def _next(self) -> SwapRequest | None:
        """Return the request that is to be prepared and is not; the lock is held."""
        request = self._wish()
        return None if request is None or request.ended else request

    def _work(self) -> None:
        """Prepare what is wanted, and again if it was superseded meanwhile."""
        while True:
            with self._lock:
                request = self._next()
                self._working = request is not None
            if request is None:
                return
            self._preparer.attempt(request, wanted=partial(self._wants, request))

    def _wants(self, request: SwapRequest) -> bool:
        with self._lock:
            return self._next() is request

    def _publish(self, request: SwapRequest) -> str:
        """Return why the ended `request` does not serve, empty: it does; the lock is held."""
        if request.error:
            return request.error
        try:
            self._engine.commit()
        except Exception as failure:  # noqa: BLE001  else whoever asked would wait for ever
            return f"{type(failure).__name__}: {failure}"
        self._active = request
        return ""
