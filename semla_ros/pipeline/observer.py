"""Embeds some of the frames aside and keeps the newest estimate of the domain."""

from __future__ import annotations

import logging
import math
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from semla_ros.core.errors import FrameError, SemlaError
from semla_ros.core.executors import InlineExecutor
from semla_ros.core.timing import now_ms
from semla_ros.core.types import DomainEstimate, Float32Array, Frame
from semla_ros.navigator.encoder import finite
from semla_ros.navigator.navigator import Navigator

_LOG = logging.getLogger(__name__)
_LONGEST_NS = 1e15


@dataclass(frozen=True, slots=True)
class _Embedded:
    """An embedding, or why there is none."""

    embedding: Float32Array | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """Which frame was embedded.

    Attributes:
        time_ns: Its stream time, see `Instant`.
        stamp_ns: Its header's stamp.
        taken_ms: When it was handed to the navigator, on the clock of `now_ms`.
    """

    time_ns: int
    stamp_ns: int
    taken_ms: float


class Observer:
    """Runs the navigator's slow half on an executor, one frame at a time.

    Attributes:
        estimate: The newest domain estimate, None until there is one.
        observed: The frame behind it.
    """

    def __init__(self, navigator: Navigator, executor: Executor) -> None:
        """Observe nothing yet."""
        self.navigator = navigator
        self.estimate: DomainEstimate | None = None
        self.observed: Observation | None = None
        self._executor = executor
        self._flight: tuple[Observation | None, Future[_Embedded]] | None = None
        self._since_ms: float | None = None
        self._due_ns: int | None = None
        self._rate_hz = 0.0

    @property
    def observing(self) -> Observation | None:
        """The frame that is being embedded, None without one."""
        return self._flight[0] if self._flight else None

    @property
    def pending_s(self) -> float:
        """For how long the navigator has been at the frame in hand, 0 without one; any thread."""
        since_ms = self._since_ms
        return 0.0 if since_ms is None else (now_ms() - since_ms) * 1e-3

    def age_s(self, time_ns: int) -> float:
        """Return how old the estimate is at a stream time, infinite where there is none.

        By stream time, and where frames are embedded in the background by the machine's clock,
        too: the larger of both.
        """
        if self.estimate is None or self.observed is None:
            return math.inf
        passed_s = (time_ns - self.observed.time_ns) * 1e-9
        if isinstance(self._executor, InlineExecutor):
            return passed_s
        return max(passed_s, (now_ms() - self.observed.taken_ms) * 1e-3)

    def offer(
        self,
        frame: Frame,
        *,
        time_ns: int,
        rate_hz: float,
        embedding: Float32Array | None = None,
    ) -> None:
        """Embed `frame` unless it is not due by stream time, or the last one still runs.

        Args:
            frame: The frame.
            time_ns: Its stream time.
            rate_hz: How often to look; 0: at every frame.
            embedding: (D,) of the frame where it is known already; nothing runs aside then.
        """
        if self._flight is None and self._is_due(time_ns, rate_hz):
            self._since_ms = now_ms()
            observation = Observation(time_ns, frame.stamp_ns, self._since_ms)
            executor = self._executor if embedding is None else InlineExecutor()
            embedded = executor.submit(_embed, self.navigator, frame, embedding)
            self._flight = (observation, embedded)

    @property
    def ready(self) -> bool:
        """Whether an attempt to embed a frame has ended and waits to be collected."""
        return self._flight is not None and self._flight[1].done()

    def collect(self) -> DomainEstimate | None:
        """Return the estimate after an embedding that has finished, None if none has.

        Raises:
            SemlaError: The frame could not be embedded or compared.
        """
        if self._flight is None or not self._flight[1].done():
            return None
        (observation, future), self._flight = self._flight, None
        self._since_ms = None
        if observation is None:
            return None
        embedded = future.result()
        if embedded.embedding is None:
            raise FrameError(f"the navigator could not embed a frame: {embedded.error}")
        self.estimate = self.navigator.update(observation.time_ns, embedded.embedding)
        self.observed = observation
        return self.estimate

    def reset(self) -> None:
        """Forget what was seen, also the frame that is being embedded: time starts anew.

        That frame still is the only one in the background: it loses its stamp, not its place.
        """
        self.navigator.reset()
        self.estimate = self.observed = self._due_ns = None
        if self._flight is not None:
            _, future = self._flight
            self._flight = None if future.done() else (None, future)

    def _is_due(self, time_ns: int, rate_hz: float) -> bool:
        """Return whether `time_ns` is due; keeps the mean rate also under jitter.

        Another rate counts from now: a slow one before it may have put the next look far off.
        """
        if rate_hz != self._rate_hz:
            self._rate_hz, self._due_ns = rate_hz, None
        due_ns = time_ns if self._due_ns is None else self._due_ns
        if time_ns < due_ns:
            return False
        period_ns = round(min(1e9 / rate_hz, _LONGEST_NS)) if rate_hz > 0 else 0
        kept_phase = due_ns + period_ns
        self._due_ns = kept_phase if kept_phase > time_ns else time_ns + period_ns
        return True


def _embed(navigator: Navigator, frame: Frame, known: Float32Array | None) -> _Embedded:
    try:
        return _Embedded(navigator.embed(frame) if known is None else finite(known, frame.rgb))
    except SemlaError as error:
        return _Embedded(None, str(error))
    except Exception as error:  # noqa: BLE001  worker boundary: masks go on
        _LOG.debug("while embedding a frame", exc_info=True)  # the streak is told once elsewhere
        return _Embedded(None, f"{type(error).__name__}: {error}")
