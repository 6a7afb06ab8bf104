"""Which mix should serve: observation, retrieval and swap policy with their live settings."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial

from semla_ros.core.answers import Prediction, SupportReading
from semla_ros.core.errors import EmptyLibraryError
from semla_ros.core.live_parameters import same_policy
from semla_ros.core.mask_signals import mask_signals
from semla_ros.core.types import AdapterMix, DomainEstimate, Float32Array, Frame
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.retrieval import agreement, retrieve
from semla_ros.navigator.support import promised
from semla_ros.navigator.swap_policy import SWAP_POLICIES
from semla_ros.pipeline.clock import FrameClock, Instant, StampReport
from semla_ros.pipeline.faults import FaultCounter
from semla_ros.pipeline.hint import HintWatch
from semla_ros.pipeline.library_view import LibraryView
from semla_ros.pipeline.observer import Observer
from semla_ros.pipeline.settings import LiveSettings
from semla_ros.pipeline.unknown import UnknownWatch

_NS_TO_MS = 1e-6
_NS_TO_S = 1e-9


@dataclass(frozen=True, slots=True)
class Decision:
    """A mix to swap to, the sensor time it took to be sure, and `SwapEvent.reason`."""

    mix: AdapterMix
    detection_ms: float
    reason: str


class Adaptation:
    """The deciding half of the pipeline; used by the frame loop alone.

    Attributes:
        settings: In force.
        library: Adapters to choose from.
        observer: None without a navigator: it then decides nothing.
        hint: Words that weigh adapters besides images.
    """

    def __init__(
        self,
        library: AdapterLibrary,
        observer: Observer | None,
        settings: LiveSettings,
        *,
        faults: FaultCounter,
    ) -> None:
        """Start without having seen a frame."""
        self.library = library
        self.observer = observer
        self.settings = settings
        self._faults = faults
        self._policy = SWAP_POLICIES[settings.config.swap_policy](settings.config)
        config = settings.config
        self._clock = FrameClock(config.max_gap_s, max_late_s=config.support_max_age_s)
        self._now: Instant | None = None
        self._interrupted_ns: int | None = None
        self._unknown = UnknownWatch(settings.config)
        self.hint = HintWatch()

    @property
    def estimate(self) -> DomainEstimate | None:
        """The newest domain estimate."""
        return None if self.observer is None else self.observer.estimate

    @property
    def time_ns(self) -> int | None:
        """Stream time of the newest frame, None before the first."""
        return None if self._now is None else self._now.time_ns

    @property
    def stamps(self) -> StampReport:
        """How the stream's stamps were; any thread."""
        return self._clock.report

    def at(self, stamp_ns: int, arrival_ns: int | None = None) -> None:
        """Take note of a frame's time, see `FrameClock.at`.

        Where the stream starts anew (a recording that loops), what was seen is forgotten. After a
        pause of `stale_timeout_s` it only counts for support once it was seen again.
        """
        before, self._now = self._now, self._clock.at(stamp_ns, arrival_ns)
        if self._now.restarted:
            self.restart()
        elif before is not None:
            paused_s = (self._now.time_ns - before.time_ns) * _NS_TO_S
            if paused_s > self.settings.config.stale_timeout_s:
                self._interrupted_ns = before.time_ns
        self.hint.at(self._now.time_ns)

    def interrupt(self) -> None:
        """Let support wait until a frame that comes after the newest one was seen."""
        if self._now is not None:
            self._interrupted_ns = self._now.time_ns

    def observe(self) -> DomainEstimate | None:
        """Return the estimate that became ready since the last call, None if none has."""
        if self.observer is None or not self.observer.ready:
            return None  # nothing was attempted: that is no success after failures
        estimate = self._faults.attempt("navigator", self.observer.collect)
        if estimate is not None:
            self._unknown.look(estimate, self.settings)
            self._compare_with_words(estimate)
        return estimate

    def offer(self, frame: Frame, embedding: Float32Array | None = None) -> None:
        """Let the navigator look at `frame`, whose time `at` was told, if it is time to.

        Args:
            frame: The frame.
            embedding: (D,) of it where the network that segmented it gave it, too.
        """
        now, rate_hz = self._now, self.settings.config.navigator_rate_hz
        if self.observer is not None and now is not None and now.judged:
            self.observer.offer(frame, time_ns=now.time_ns, rate_hz=rate_hz, embedding=embedding)

    def _compare_with_words(self, estimate: DomainEstimate) -> None:
        """Let words count as far as the newest frame alone, unfiltered, bears them out."""
        if (prior := self.hint.prior) is None:
            return
        look = partial(agreement, estimate.names, estimate.raw_distances, prior=prior)
        look = partial(look, settings=self.settings.retrieval)
        found = self._faults.attempt("retrieval", look)
        self.hint.saw(0.0 if found is None else found)

    def decide(
        self, estimate: DomainEstimate, target: AdapterMix, *, unusable: Collection[str]
    ) -> Decision | None:
        """Return the swap that `estimate` is reason enough for, None to keep `target`.

        A target with an adapter that may not serve (excluded) is left at once.

        Args:
            estimate: Newest observation.
            target: The mix that serves or is on its way.
            unusable: Adapters that cannot be loaded.
        """
        wanted = self._faults.attempt(
            "retrieval", partial(self._attainable, estimate, target, unusable=unusable)
        )
        if wanted is None:
            return None
        chosen: AdapterMix | None = wanted
        since_ns: int | None = None
        if not self.settings.retrieval.exclude.intersection(target.names):
            announced = self._reason == "hint"
            chosen = self._policy.decide(wanted, target, estimate.stamp_ns, announced=announced)
            since_ns = self._policy.wanted_since_ns
        if chosen is None or chosen == target:
            if wanted.difference(target) < self.settings.config.swap_trigger:
                self.hint.note(target)
            return None
        self.hint.note(chosen)
        waited_ns = 0 if since_ns is None else estimate.stamp_ns - since_ns
        return Decision(chosen, waited_ns * _NS_TO_MS, self._reason)

    def wanted(self, estimate: DomainEstimate, *, unusable: Collection[str]) -> AdapterMix:
        """Return the mix retrieval asks for; the base where no adapter may or should serve.

        Raises:
            LibraryError: The distances cannot be compared.
        """
        if self._base_alone:
            return AdapterMix.base_only()
        settings = replace(self.settings.retrieval, exclude=self.banned(unusable))
        try:
            return retrieve(
                estimate.names,
                estimate.distances,
                settings=settings,
                prior=self.hint.prior,
                share=self.hint.share,
            )
        except EmptyLibraryError:
            return AdapterMix.base_only()

    def _attainable(
        self, estimate: DomainEstimate, target: AdapterMix, *, unusable: Collection[str]
    ) -> AdapterMix:
        """Return what can serve and is nearest to what retrieval asks for.

        That may be `target` with an adapter that could not be loaded again: it is loaded already.
        """
        wanted = self.wanted(estimate, unusable=unusable)
        held = frozenset(unusable).intersection(target.names)
        if not held or self.settings.retrieval.exclude.intersection(target.names):
            return wanted
        ideal = self.wanted(estimate, unusable=frozenset(unusable) - held)
        return target if ideal.difference(target) <= ideal.difference(wanted) else wanted

    def banned(self, unusable: Collection[str]) -> frozenset[str]:
        """Return the adapters that no swap may bring: excluded, or `unusable`."""
        return self.settings.retrieval.exclude.union(unusable)

    def support(self, active: AdapterMix) -> SupportReading | None:
        """Return how far `active` covers what the camera sees, None without a navigator.

        STALE where what was seen last is older than `support_max_age_s`, or was seen before the
        stream was interrupted, and before anything was seen.
        """
        observer, now = self.observer, self._now
        if observer is None or now is None:
            return None
        estimate, observed = observer.estimate, observer.observed
        if estimate is None or observed is None:
            return SupportReading.stale()
        age_s = observer.age_s(now.time_ns)
        before = self._interrupted_ns is not None and observed.time_ns <= self._interrupted_ns
        if before or now.doubtful or age_s > self.settings.config.support_max_age_s:
            return SupportReading.stale(observed_ns=observed.stamp_ns, age_s=age_s)
        seen, read = self._unknown, partial(self.settings.support, estimate, active)
        read = partial(read, novelty=seen.novelty, before=seen.outside)
        reading = self._faults.attempt("support", read)
        if reading is None:
            return SupportReading.stale(observed_ns=observed.stamp_ns, age_s=age_s)
        return replace(reading, observed_ns=observed.stamp_ns, age_s=age_s)

    def promise(self, reading: SupportReading, prediction: Prediction) -> SupportReading:
        """Return `reading` with what is promised of a mask whose mix images alone have chosen."""
        calibration = self.settings.calibration
        if calibration is None or self.hint.had_part_in(prediction.mix):
            return reading
        signals = mask_signals(prediction.labels, prediction.confidence)
        return promised(reading, calibration, signals)

    @property
    def silence(self) -> str:
        """Why OUT_OF_LIBRARY is never raised, empty where it may be."""
        if self.observer is None:
            return ""
        return self.settings.silence(self.observer.navigator.bank.alarm)

    def restart(self) -> None:
        """Forget what was seen; the active mix is not this class's business and stays."""
        self._policy.reset()
        self._unknown.reset()
        self._interrupted_ns = None
        self.hint.forget()
        if self.observer is not None:
            self.observer.reset()

    def restart_policy(self) -> None:
        """Begin counting anew, as after a choice by hand."""
        self._policy.reset()

    def apply(self, settings: LiveSettings, view: LibraryView | None) -> None:
        """Use other settings from now on; the filter and, where it may, the policy go on.

        Args:
            settings: New.
            view: The library in force as another distance needs it; None: the distance stays.
        """
        before, self.settings = self.settings, settings
        if not same_policy(before.config, settings.config):
            self._policy = SWAP_POLICIES[settings.config.swap_policy](settings.config)
        if self.observer is not None:
            config = settings.config
            self._clock.max_gap_s = config.max_gap_s
            self._clock.max_late_s = config.support_max_age_s
            self._unknown.configure(config)
            self.observer.navigator.set_filter(
                time_constant_s=config.ema_time_s, max_gap_s=config.max_gap_s
            )
        if view is not None:
            self._measure(view)

    def adopt(self, view: LibraryView) -> None:
        """Choose among the adapters of another library, measured as so far, from now on."""
        self.library = view.library
        self._unknown.reset()
        self._measure(view)

    def _measure(self, view: LibraryView) -> None:
        """Measure to the library in force as `view` does; the estimate was another."""
        if self.observer is not None:
            self.observer.estimate = None
            self.observer.navigator.replace_bank(view.bank, distance=view.distance)

    @property
    def _base_alone(self) -> bool:
        """Whether the base serves because the library does not know what the camera sees."""
        return self._unknown.outside and self.settings.config.out_of_library_mix == "base"

    @property
    def _reason(self) -> str:
        if self._base_alone:
            return "out_of_library"
        return "hint" if self.hint.share >= 0.5 else "domain"
