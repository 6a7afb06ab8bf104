"""Embeds some of the frames aside and keeps the newest estimate of the domain."""

from __future__ import annotations

import logging
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from semla_ros.errors import FrameError, SemlaError
from semla_ros.navigator.navigator import Navigator
from semla_ros.types import DomainEstimate, Float32Array, Frame

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Embedded:
    """An embedding, or why there is none."""

    embedding: Float32Array | None
    error: str = ""


class Observer:
    """Runs the navigator's slow half on an executor, one frame at a time.

    Attributes:
        estimate: The newest domain estimate, None until there is one.
    """

    def __init__(self, navigator: Navigator, executor: Executor) -> None:
        """Observe nothing yet."""
        self.navigator = navigator
        self.estimate: DomainEstimate | None = None
        self._executor = executor
        self._flight: tuple[int | None, Future[_Embedded]] | None = None
        self._due_ns: int | None = None

    def offer(self, frame: Frame, *, rate_hz: float) -> None:
        """Embed `frame` unless it is not due by sensor time, or the last one still runs."""
        if self._flight is None and self._is_due(frame.stamp_ns, rate_hz):
            future = self._executor.submit(_embed, self.navigator, frame)
            self._flight = (frame.stamp_ns, future)

    def collect(self) -> DomainEstimate | None:
        """Return the estimate after an embedding that has finished, None if none has.

        Raises:
            SemlaError: The frame could not be embedded or compared.
        """
        if self._flight is None or not self._flight[1].done():
            return None
        (stamp_ns, future), self._flight = self._flight, None
        if stamp_ns is None:
            return None
        embedded = future.result()
        if embedded.embedding is None:
            raise FrameError(f"the navigator could not embed a frame: {embedded.error}")
        self.estimate = self.navigator.update(stamp_ns, embedded.embedding)
        return self.estimate

    def reset(self) -> None:
        """Forget what was seen, also the frame that is being embedded: time starts anew.

        That frame still is the only one in the background: it loses its stamp, not its place.
        """
        self.navigator.reset()
        self.estimate = self._due_ns = None
        if self._flight is not None:
            _, future = self._flight
            self._flight = None if future.done() else (None, future)

    def _is_due(self, stamp_ns: int, rate_hz: float) -> bool:
        """Return whether `stamp_ns` is due; keeps the mean rate also under jitter."""
        due_ns = stamp_ns if self._due_ns is None else self._due_ns
        if stamp_ns < due_ns:
            return False
        period_ns = round(1e9 / rate_hz) if rate_hz > 0 else 0
        kept_phase = due_ns + period_ns
        self._due_ns = kept_phase if kept_phase > stamp_ns else stamp_ns + period_ns
        return True


def _embed(navigator: Navigator, frame: Frame) -> _Embedded:
    try:
        return _Embedded(navigator.embed(frame))
    except SemlaError as error:
        return _Embedded(None, str(error))
    except Exception as error:  # noqa: BLE001  worker boundary: masks go on
        _LOG.exception("unexpected failure of the navigator")
        return _Embedded(None, f"{type(error).__name__}: {error}")
