"""Replacing the active weights without a frame noticing.

One request is outstanding at most; a newer one replaces it. The background fuses, merges, encodes
the class list, fills the engine's idle slot and proves it; the frame loop only publishes. Whatever
fails, the active set keeps serving and the failure is reported once. While nothing is outstanding
the idle slot may be filled with what will probably be asked for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import partial

from semla_ros.adapter_access import AdapterAccess, AdapterSource
from semla_ros.answers import FRESH, PREFETCHED, RECURRING, Prediction, SwapEvent
from semla_ros.engine.base import SegmentationEngine
from semla_ros.engine.text import TextFeatures
from semla_ros.library.fusion import WeightSource
from semla_ros.streaks import Streaks
from semla_ros.swap_request import RecentMixes, SwapRequest
from semla_ros.timing import StageTimer, now_ms
from semla_ros.types import AdapterMix, UInt8Array, Vocabulary
from semla_ros.weight_set import Prepared, Recipe, SetPreparer

_LOG = logging.getLogger(__name__)
_REMEMBERED = 16


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
        self._preparer = SetPreparer(engine, base_weights, text_encoder)
        self._executor = executor
        self._lock = threading.Lock()
        self._outstanding: SwapRequest | None = None
        self._spare: Recipe | None = None
        self._in_flight: Recipe | None = None
        self._ready: Prepared | None = None
        self._recent = RecentMixes(_REMEMBERED)
        self._streaks = Streaks()
        self._working = False
        self._closed = False
        self._active = Recipe(AdapterMix.base_only(), vocabulary, AdapterAccess(library))
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
        return self._active.mix if wanted is None else wanted.recipe.mix

    @property
    def busy(self) -> bool:
        """Whether a request has not been committed, failed, superseded or withdrawn yet."""
        return self._wish() is not None

    @property
    def spare(self) -> AdapterMix | None:
        """The mix that is, or is being, prepared before anyone has asked for it."""
        return None if (spare := self._spare) is None else spare.mix

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
        tolerance: float = 0.0,
        without: Collection[str] = (),
        library: AdapterSource | None = None,
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
            tolerance: A mix that is prepared already, or served recently, may be published
                instead if it is as near as this in sum |w - w'|; the event says so.
            without: Adapters that such a mix must not have.
            library: Where adapters come from, with this swap and from then on.
            proved: Whether it must be proved; False serves whatever loads, for studies.
        """
        with self._lock:
            if library is None:
                classes = vocabulary or self.vocabulary
                recipe, origin = self._recipe(mix, classes, tolerance, without)
            else:
                access = AdapterAccess(library)
                recipe, origin = Recipe(mix, vocabulary or self.vocabulary, access), FRESH
            recipe = recipe if proved else replace(recipe, proved=False)
            wanted = SwapRequest(mix, recipe, reason, origin, detection_ms)
            closed, superseded, start = self._closed, None, False
            if not closed:
                superseded, self._outstanding = self._outstanding, wanted
                start = self._must_start()
        if closed:
            wanted.resolve(wanted.failed(self.active, stamp_ns, "the swapper is closed"))
            return wanted.future
        if superseded is not None:
            error = f"superseded by {reason} {mix.identity}"
            superseded.resolve(superseded.failed(self.active, stamp_ns, error))
        if start:
            self._executor.submit(self._work)
        return wanted.future

    def prefetch(
        self, mix: AdapterMix, *, tolerance: float, without: Collection[str] = ()
    ) -> None:
        """Prepare `mix` in the idle slot, in case it is asked for; any thread, never waits.

        Does nothing while a request is outstanding, while an earlier guess is being prepared, or
        where that is within half the `tolerance`; it and `without` are the coming request's.
        """
        with self._lock:
            spare = self._spare
            near = spare is not None and spare.mix.difference(mix) <= tolerance / 4
            waits = near or (spare is not None and self._in_flight is spare)
            if self._closed or self._wish() is not None or waits:
                return
            known = self._recent.nearest(
                mix, tolerance=tolerance, without=without, other_than=self._active.mix
            )
            self._spare = Recipe(known or mix, self.vocabulary, self._active.access)
            start = self._must_start()
        if start:
            self._executor.submit(self._work)

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
            request, ready = self._wish(), self._ready
            if request is None or ready is None or ready.recipe is not request.recipe:
                return None
            self._outstanding = self._spare = self._ready = None
            if not request.future.set_running_or_notify_cancel():
                return None  # withdrawn this moment
            before = self._active.mix
            error = self._publish(request.recipe, ready.error)
        stall_ms = now_ms() - started
        event = request.ended(before, ready, stamp_ns=stamp_ns, stall_ms=stall_ms, error=error)
        if event.committed:
            _LOG.info("swap to %s (%s, %s)", event.to_mix.identity, event.reason, event.origin)
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
            self._spare = self._ready = None
        if dropped is not None:
            dropped.resolve(dropped.failed(self.active, 0, "the swapper was closed"))

    def _recipe(
        self, mix: AdapterMix, vocabulary: Vocabulary, tolerance: float, without: Collection[str]
    ) -> tuple[Recipe, str]:
        """Return what to publish for `mix` and where it comes from; the lock is held."""
        access, active = self._active.access, self._active.mix
        if (
            (ahead := self._ahead()) is not None
            and ahead.vocabulary is vocabulary
            and ahead.access is access
            and 2 * ahead.mix.difference(mix) <= tolerance
            and set(without).isdisjoint(ahead.mix.names)
        ):
            return ahead, PREFETCHED
        known = self._recent.nearest(mix, tolerance=tolerance, without=without, other_than=active)
        return Recipe(known or mix, vocabulary, access), RECURRING if known else FRESH

    def _ahead(self) -> Recipe | None:
        """Return what is whole in the idle slot, or on its way there and wanted; lock held."""
        if self._ready is not None:
            return None if self._ready.error else self._ready.recipe
        return self._in_flight if self._in_flight is self._next() else None

    def _must_start(self) -> bool:
        """Return whether the background has to be woken for the next recipe; lock held."""
        start = not self._working and self._next() is not None
        self._working = self._working or start
        return start

    def _wish(self) -> SwapRequest | None:
        """Return the outstanding request, unless whoever asked has withdrawn it."""
        request = self._outstanding
        return None if request is None or request.future.cancelled() else request

    def _next(self) -> Recipe | None:
        """Return what should lie in the idle slot and does not; the lock is held."""
        request = self._wish()
        wanted = self._spare if request is None else request.recipe
        done = self._ready is not None and self._ready.recipe is wanted
        return None if done else wanted

    def _work(self) -> None:
        """Prepare what is wanted, and again if it was superseded meanwhile."""
        while True:
            with self._lock:
                recipe = self._next()
                self._in_flight, self._working = recipe, recipe is not None
                if recipe is None:
                    return
                self._ready = None
            prepared = self._preparer.attempt(recipe, wanted=partial(self._wants, recipe))
            with self._lock:
                self._in_flight, self._ready = None, prepared

    def _wants(self, recipe: Recipe) -> bool:
        with self._lock:
            return self._next() is recipe

    def _publish(self, recipe: Recipe, error: str) -> str:
        """Return why `recipe`, prepared unless there is an `error`, does not serve; lock held."""
        if error:
            return error
        try:
            self._engine.commit()
        except Exception as failure:  # noqa: BLE001  else whoever asked would wait for ever
            return f"{type(failure).__name__}: {failure}"
        if recipe.access is not self._active.access:
            self._recent.clear()
        self._active = recipe
        self._recent.add(recipe.mix)
        return ""
