"""Everything that changes the active set: decisions, orders from outside, publication."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future
from functools import partial

from semla_ros.core.answers import SwapEvent
from semla_ros.core.errors import EngineError, LibraryError, SemlaError
from semla_ros.core.timing import now_ms
from semla_ros.core.types import BASE, AdapterMix, Vocabulary
from semla_ros.pipeline.adaptation import Adaptation
from semla_ros.pipeline.commands import CommandQueue
from semla_ros.pipeline.faults import FaultCounter
from semla_ros.pipeline.library_view import LibraryView, unknown_of
from semla_ros.pipeline.retry import RetryWait
from semla_ros.pipeline.swap import AdapterSwapper

_LOG = logging.getLogger(__name__)


class SwapControl:
    """Turns observations and orders into swaps, one order after the other.

    `pin`, `unpin`, `set_vocabulary` and `reload_library` may be called from any thread; the rest
    belongs to the frame loop.

    Attributes:
        pinned: The mix chosen by hand, None while the pipeline chooses.
    """

    def __init__(
        self,
        swapper: AdapterSwapper,
        adaptation: Adaptation,
        executor: Executor,
        *,
        faults: FaultCounter,
    ) -> None:
        """Let the pipeline choose.

        Args:
            swapper: Carries swaps out.
            adaptation: Decides.
            executor: Where the library is read.
            faults: Counts failed swaps.
        """
        self.pinned: AdapterMix | None = None
        self._swapper = swapper
        self._adaptation = adaptation
        self._executor = executor
        self._faults = faults
        self._commands = CommandQueue()
        self._lock = threading.Lock()
        self._unread: Future[SwapEvent] | None = None  # of a reload that has not begun
        self._reloads: list[Future[SwapEvent]] = []
        self._reloaded: LibraryView | None = None
        self._leaving: tuple[AdapterMix, RetryWait] | None = None
        self._events: list[SwapEvent] = []
        self._busy_since_ms: float | None = None

    @property
    def pending_s(self) -> float:
        """For how long a swap has been under way, 0 while there is none; any thread."""
        since_ms = self._busy_since_ms
        return 0.0 if since_ms is None else (now_ms() - since_ms) * 1e-3

    @property
    def reloading(self) -> bool:
        """Whether a reload of the library has no answer yet; any thread."""
        return not all(each.done() for each in self._reloads)

    def pin(self, mix: AdapterMix) -> Future[SwapEvent]:
        """Return the future of a swap to `mix`, which then stays.

        Raises:
            LibraryError: An adapter is not in the library, or excluded.
        """
        names = {BASE, *self._adaptation.library.names}
        known = names - self._adaptation.settings.retrieval.exclude
        unknown = [name for name in mix.names if name not in known]
        if unknown:
            raise LibraryError(f"expected adapters of {sorted(known)!r}, got {unknown!r}")
        return self._order(partial(self._start_pin, mix))

    def unpin(self) -> Future[SwapEvent]:
        """Return the future of the swap to what retrieval wants now."""
        return self._order(self._start_unpin)

    def set_vocabulary(self, vocabulary: Vocabulary) -> Future[SwapEvent]:
        """Return the future of a swap to another class list; the mix stays."""
        return self._order(partial(self._start_vocabulary, vocabulary))

    def reload_library(self) -> Future[SwapEvent]:
        """Return the future of the swap that follows reading the library folder again.

        All who ask before the reading begins share one.
        """
        with self._lock:
            if self._unread is not None and not self._unread.done():  # done: refused meanwhile
                return self._unread
            answer = self._unread = self._commands.announce()
            unanswered = [each for each in self._reloads if not each.done()]
            self._reloads = [*unanswered, answer]
        self._executor.submit(self._read_library)
        return answer

    def refuse_orders(self, error: SemlaError) -> None:
        """Answer every order that has no answer yet with `error`; none of them takes effect."""
        self._commands.refuse(error)

    def adapt(self, stamp_ns: int) -> None:
        """Take in what the navigator found, and ask for a swap where it is reason enough.

        An automatic swap never supersedes another swap: it waits until that one is through.
        """
        access, time_ns = self._swapper.access, self._adaptation.time_ns
        if time_ns is not None and access.due(time_ns):
            self._executor.submit(access.retry)
        estimate = self._adaptation.observe()
        if self.pinned is not None:
            self._leave_excluded(stamp_ns)
        if estimate is None or self.pinned is not None or self._swapper.busy:
            return
        unusable = self._swapper.unusable
        decision = self._adaptation.decide(estimate, self._swapper.target, unusable=unusable)
        if decision is None:
            return
        self._swapper.request(
            decision.mix,
            reason=decision.reason,
            stamp_ns=stamp_ns,
            detection_ms=decision.detection_ms,
        )

    def _leave_excluded(self, stamp_ns: int) -> None:
        """Take adapters that were excluded since out of the mix that was chosen by hand.

        With them goes what cannot be loaded. A swap that fails all the same is tried again later.
        """
        target, excluded = self._swapper.target, self._adaptation.settings.retrieval.exclude
        if self._swapper.busy or not excluded.intersection(target.names):
            return
        banned = self._adaptation.banned(self._swapper.unusable)
        mix = _limited(target, set(target.names) - banned)
        if self._leaving is None or self._leaving[0] != mix:
            self._leaving = mix, RetryWait()
        elif not self._leaving[1].over(self._adaptation.time_ns or 0):
            return
        self._swapper.request(mix, reason="pinned", stamp_ns=stamp_ns)

    def advance(self, stamp_ns: int) -> None:
        """Start the next order and publish what is prepared; never waits."""
        while True:
            self._commands.start_next(stamp_ns)
            if self._swapper.commit_ready(stamp_ns, then=self._take_effect) is None:
                break
            self._busy_since_ms = None
        if not self._swapper.busy:
            self._busy_since_ms = None
        elif self._busy_since_ms is None:
            self._busy_since_ms = now_ms()

    def take_events(self) -> tuple[SwapEvent, ...]:
        """Return what happened since the last call."""
        events, self._events = tuple(self._events), []
        return events

    def close(self) -> None:
        """Answer every order that was not carried out with an error."""
        self._swapper.close()
        self._commands.refuse(EngineError("the pipeline was closed"), close=True)

    def _take_effect(self, event: SwapEvent) -> None:
        """Do what follows from a swap, which an order asked for or the scene."""
        self._events.append(event)
        if not event.committed:
            self._faults.count("swap")
            return
        self._leaving = None
        if event.reason == "unpinned":
            self.pinned = None
            self._adaptation.restart_policy()
        elif event.reason == "pinned" or self.pinned is not None:
            self.pinned = event.to_mix
        if event.reason == "library" and self._reloaded is not None:
            self._adaptation.adopt(self._reloaded)
            lost = unknown_of(self._adaptation.settings.config.excluded, self._reloaded.library)
            if lost:
                _LOG.warning("excluded and not in the library: %s: correct `exclude`", lost)

    def _order(self, start: Callable[[int], Future[SwapEvent]]) -> Future[SwapEvent]:
        return self._commands.put(start)

    def _start_pin(self, mix: AdapterMix, stamp_ns: int) -> Future[SwapEvent]:
        return self._swapper.request(mix, reason="pinned", stamp_ns=stamp_ns)

    def _start_unpin(self, stamp_ns: int) -> Future[SwapEvent]:
        estimate, mix = self._adaptation.estimate, self._swapper.target
        if estimate is not None:
            mix = self._adaptation.wanted(estimate, unusable=self._swapper.unusable)
            self._adaptation.hint.note(mix)
        return self._swapper.request(mix, reason="unpinned", stamp_ns=stamp_ns)

    def _start_vocabulary(self, vocabulary: Vocabulary, stamp_ns: int) -> Future[SwapEvent]:
        return self._swapper.request(
            self._swapper.target, reason="vocabulary", stamp_ns=stamp_ns, vocabulary=vocabulary
        )

    def _read_library(self) -> None:
        """Read the library folder again and hand it to the frame loop; in the background."""
        with self._lock:
            answer, self._unread = self._unread, None
        if answer is None:
            return
        try:
            library = self._adaptation.library.reload()
            distance = self._adaptation.settings.distance
            observer = self._adaptation.observer
            known = observer.navigator.bank if observer is not None else None
            view = LibraryView.of(library, distance=distance, known=known)
            self._commands.put(partial(self._start_library, view), answer)
        except Exception as error:  # noqa: BLE001  worker boundary: the caller gets the error
            self._commands.fail(answer, error)

    def _start_library(self, view: LibraryView, stamp_ns: int) -> Future[SwapEvent]:
        measured = self._adaptation.observer is not None
        if measured and view.distance != self._adaptation.settings.distance:
            raise LibraryError("the distance changed while the library was read: reload it again")
        self._reloaded = view
        mix = _limited(self._swapper.target, {BASE, *view.library.names})
        return self._swapper.request(
            mix, reason="library", stamp_ns=stamp_ns, library=view.library
        )


def _limited(mix: AdapterMix, names: Collection[str]) -> AdapterMix:
    """Return the members of `mix` among `names`, the base where none is."""
    kept = {name: mix.weight(name) for name in mix.names if name in names}
    return AdapterMix.from_weights(kept) if kept else AdapterMix.base_only()
