"""The main flow: where are we, which adapters, swap aside, segment."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from semla_ros.bundle import ModelBundle
from semla_ros.core.answers import Prediction, SegmentationResult, SupportReading, SwapEvent
from semla_ros.core.config import Config
from semla_ros.core.errors import EngineError, SemlaError
from semla_ros.core.executors import end
from semla_ros.core.timing import StageTimer
from semla_ros.core.types import AdapterMix, Frame, Vocabulary
from semla_ros.core.viz.palette import vocabulary_of
from semla_ros.engine.closed_text import require_known
from semla_ros.engine.contract import SegmentationEngine
from semla_ros.engine.postprocess import restore, restore_confidence
from semla_ros.library.library import AdapterLibrary
from semla_ros.pipeline.adaptation import Adaptation
from semla_ros.pipeline.changes import LiveChanges
from semla_ros.pipeline.control import SwapControl
from semla_ros.pipeline.faults import FaultCounter
from semla_ros.pipeline.health import PipelineHealth, health_of
from semla_ros.pipeline.hint import HintReader
from semla_ros.pipeline.parts import PipelineParts
from semla_ros.pipeline.settings import LiveSettings

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 5.0


class AdaptivePipeline:
    """Frames in, masks out; adapts by itself and never waits for it.

    `step` and `poll` form the frame loop; everything else may be called from any thread and takes
    effect between two frames.
    """

    def __init__(self, parts: PipelineParts, config: Config) -> None:
        """Take over `parts`.

        Raises:
            SemlaError: The configuration does not fit bundle or library.
        """
        self._parts = parts
        self._swapper = parts.swapper
        self._faults = FaultCounter()
        settings = LiveSettings.of(config, parts.bundle.manifest.defaults)
        self._adaptation = Adaptation(parts.library, parts.observer, settings, faults=self._faults)
        self._control = SwapControl(
            parts.swapper, self._adaptation, parts.executors[0], faults=self._faults
        )
        self._hints = HintReader(parts.bundle, parts.executors[0])
        self._interrupted = threading.Event()
        self._changes = LiveChanges(settings, parts)
        self._loop = threading.Lock()
        self._closed = False

    @property
    def bundle(self) -> ModelBundle:
        """The model."""
        return self._parts.bundle

    @property
    def engine(self) -> SegmentationEngine:
        """What segments."""
        return self._parts.engine

    @property
    def library(self) -> AdapterLibrary:
        """The adapters to choose from, as of the last reload."""
        return self._adaptation.library

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._adaptation.settings.config

    @property
    def active(self) -> AdapterMix:
        """The mix that serves."""
        return self._swapper.active

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes that are served."""
        return self._swapper.vocabulary

    @property
    def pinned(self) -> AdapterMix | None:
        """The mix chosen by hand, None while the pipeline chooses."""
        return self._control.pinned

    @property
    def busy(self) -> bool:
        """Whether a swap is under way."""
        return self._swapper.busy

    @property
    def adaptation(self) -> Adaptation:
        """The deciding half, to be looked at by the loop's thread."""
        return self._adaptation

    @property
    def health(self) -> PipelineHealth:
        """What serves, and what could keep it from adapting; any thread."""
        return health_of(self._parts, self._adaptation, self._control, self._faults)

    def step(self, frame: Frame) -> SegmentationResult:
        """Return the mask of `frame`, made with one whole weight set.

        Raises:
            FrameError: The image is unusable.
            EngineError: The network failed, or the pipeline is closed.
        """
        timer = StageTimer()
        with self._loop:
            self._require_open()
            with timer.stage("adapt"):
                self._take_changes()
                self._adaptation.at(frame.stamp_ns, frame.arrival_ns)
                self._hints.at(self._adaptation.time_ns or 0)
                self._control.adapt(frame.stamp_ns)
            with timer.stage("commit"):
                self._control.advance(frame.stamp_ns)
            with timer.stage("infer"):
                prediction = self._infer(frame)
            with timer.stage("observe"):
                self._adaptation.offer(frame, self._parts.embedding_of(prediction))
            return self._result(frame, prediction, timer)

    def poll(self, stamp_ns: int) -> tuple[SwapEvent, ...]:
        """Return what happened to swaps since the last frame; never waits.

        Carries out commands, adapts and publishes prepared sets while no frame flows, so that the
        next frame need not. Does nothing where a frame is just being computed: its step does the
        same. With `adaptation: inline` only frames adapt, as in a replay.
        """
        if not self._loop.acquire(blocking=False):
            return ()
        try:
            if self._closed:
                return ()
            self._take_changes()
            if self.config.adaptation == "background":
                self._control.adapt(stamp_ns)
            self._control.advance(stamp_ns)
            return self._control.take_events()
        finally:
            self._loop.release()

    def pin(self, mix: AdapterMix) -> Future[SwapEvent]:
        """Return the future of a swap to `mix`, which then stays until `unpin`.

        Raises:
            LibraryError: An adapter is not in the library, or excluded.
        """
        self._require_open()
        return self._control.pin(mix)

    def unpin(self) -> Future[SwapEvent]:
        """Return the future of the swap to what the pipeline would have chosen meanwhile."""
        self._require_open()
        return self._control.unpin()

    def set_vocabulary(self, names: Sequence[str] | Vocabulary) -> Future[SwapEvent]:
        """Return the future of a swap to another class list; the mix stays.

        Raises:
            VocabularyError: The list is empty, too long or repeats a name, or it is closed.
        """
        wanted = names if isinstance(names, Vocabulary) else vocabulary_of(names)
        self._require_open()
        require_known(wanted, self.bundle.manifest)
        return self._control.set_vocabulary(wanted)

    def reload_library(self) -> Future[SwapEvent]:
        """Return the future of the swap that follows reading the library folder again.

        A library that cannot be read leaves the old one serving; the future then has the error.
        """
        self._require_open()
        return self._control.reload_library()

    def hint(self, text: str, *, ttl_s: float = 0.0, stamp_ns: int = 0) -> Future[str]:
        """Return the future of what is made of words about what the camera will see.

        Args:
            text: In a sentence; empty withdraws what was said.
            ttl_s: For how long, by stream time; 0: `hint_ttl_s`.
            stamp_ns: When it was said; 0: now.

        Raises:
            ConfigError: See `HintReader.give`; the future has the error where the text speaks of
                no domain, or the bundle reads none.
        """
        self._require_open()
        ttl_s = ttl_s or self.config.hint_ttl_s
        return self._hints.give(text, self.library.captions, ttl_s=ttl_s, stamp_ns=stamp_ns)

    def refuse_orders(self, why: str) -> None:
        """Answer every order that has no answer yet with an error; none of them takes effect."""
        self._control.refuse_orders(EngineError(why))

    def configure(self, config: Config) -> None:
        """Apply the live parameters of `config` before the next frame.

        Raises:
            SemlaError: See `LiveChanges.put`.
        """
        self._changes.put(config, library=self.library)

    def interrupted(self) -> int:
        """Return the stamp in ns of what was seen last, 0 for nothing: no frame comes.

        Support is STALE until a frame that comes later was seen.
        """
        self._interrupted.set()
        observer = self._parts.observer
        return observer.observed.stamp_ns if observer and observer.observed else 0

    def close(self, *, patience_s: float = _PATIENCE_S) -> bool:
        """Stop: answer what waits, end the background threads, release the engine.

        Returns whether all of it ended. What takes longer than `patience_s` s, for the frame in
        hand and again for each thread, is left as it is: it may use the engine still.
        """
        ended = self._loop.acquire(timeout=patience_s)
        already, self._closed = self._closed, True
        if ended:
            self._loop.release()
        if already:
            return ended
        for executor in self._parts.executors:
            ended = end(executor, within_s=patience_s) and ended
        self._control.close()
        if ended:
            self.engine.close()
        else:
            _LOG.error("the network, a swap or the navigator hangs: its memory is not released")
        return ended

    def __enter__(self) -> AdaptivePipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _infer(self, frame: Frame) -> Prediction:
        try:
            return self._swapper.saw(frame.rgb, self.engine.infer(frame.rgb))
        except SemlaError:
            self._faults.count("infer")
            raise

    def _result(
        self, frame: Frame, prediction: Prediction, timer: StageTimer
    ) -> SegmentationResult:
        with timer.stage("restore"):
            labels, confidence = prediction.labels, prediction.confidence
            if self.config.output_size == "input":
                size = frame.rgb.shape[:2]
                labels = restore(labels, size)
                confidence = restore_confidence(confidence, size)
        return SegmentationResult(
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            labels=labels,
            confidence=confidence,
            vocabulary=prediction.vocabulary,
            mix=prediction.mix,
            support=self._reading(prediction),
            estimate=self._adaptation.estimate,
            swaps=self._control.take_events(),
            timings_ms=timer.durations_ms,
            hint=self._adaptation.hint.text,
            hint_share=self._adaptation.hint.share,
        )

    def _reading(self, prediction: Prediction) -> SupportReading | None:
        """Return the support; a promise only for the bundle's classes and no mix by hand."""
        own = prediction.vocabulary.names == self.bundle.manifest.vocabulary.names
        reading = self._adaptation.support(prediction.mix)
        if reading is None or self.pinned is not None or not own:
            return reading
        return self._adaptation.promise(reading, prediction)

    def _take_changes(self) -> None:
        if self._interrupted.is_set():
            self._interrupted.clear()
            self._adaptation.interrupt()
        if change := self._changes.take(self._adaptation, reloading=self._control.reloading):
            self._adaptation.apply(*change)
        for hint in self._hints.take():
            self._adaptation.hint.put(hint)

    def _require_open(self) -> None:
        if self._closed:
            raise EngineError("the pipeline is closed: build a new one")
