"""One stream time out of header stamps as cameras really send them.

Late frames, small steps of a clock, single wild stamps, recordings that loop, stamps that are
empty or stand still: filter, swap policy and navigator rate must not hear of them. They get a
time that never steps back except where the stream really starts anew.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, replace

_LOG = logging.getLogger(__name__)

_S = 1_000_000_000
_WINDOW = 20
"""Frames over which doubtful stamps are counted."""

_MANY = 0.3
"""Share of doubtful stamps in a full window from which stamps are not used."""

_STILL_FRAMES, _STILL_NS = 3, _S // 2
"""Stamps that do not advance for this many frames and this long by arrival are not used."""

_PACES = (0.005, 100.0)
"""Sensor seconds for each second of arrival between which stamps may advance: a slow simulation,
a recording played or written fast. Beyond it their unit is wrong. Judged over `_PACE_NS`."""
_PACE_NS = 2 * _S

_LATE_CONFIRM, _JUMP_CONFIRM = 3, 2
"""Frames in a row that must go on from a stamp beside the stream before the stream follows it."""

_FASTEST_PAUSE = 4
"""A pause may be played back this many times faster and is a pause still."""

_GOOD_FRAMES, _GOOD_NS = 30, 2 * _S
"""Stamps that advance plausibly for this many frames and this long are used again."""


@dataclass(frozen=True, slots=True)
class Instant:
    """What one frame means for the stream.

    Attributes:
        time_ns: Stream time; the header's stamp wherever stamps are sound.
        judged: The navigator may look at the frame: it is not late and its time is known.
        doubtful: The stamp lies far from the stream's time: whether anything seen before still
            holds for this frame is not known.
        restarted: The stream starts anew here: nothing seen before holds.
    """

    time_ns: int
    judged: bool = True
    doubtful: bool = False
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class StampReport:
    """How the stamps of a stream were.

    Attributes:
        unusable: Why arrival time is used instead, empty where stamps are used.
        late: Frames with a stamp before one that had come already, passed over by the navigator.
        doubtful: Frames whose stamp lay far from the stream's time, or was empty among others.
        restarts: Times the stream started anew.
        by_arrival: Frames judged by arrival time.
    """

    unusable: str = ""
    late: int = 0
    doubtful: int = 0
    restarts: int = 0
    by_arrival: int = 0


@dataclass(frozen=True, slots=True)
class _Aside:
    """Frames in a row whose stamps do not go on from the stream: the newest stamp, how many.

    They are `late` if the first of them lay at most `max_late_s` back; else they jumped.
    """

    stamp_ns: int
    frames: int
    late: bool


class FrameClock:
    """Turns stamps and arrival times into stream time; used by the frame loop alone.

    Attributes:
        max_gap_s: A step forward of more seconds than this, during which less time passed, is a
            jump.
        max_late_s: So is a step back of more, or of more than `max_gap_s`; a smaller one is a
            late frame, for which what was seen after it holds.
    """

    def __init__(self, max_gap_s: float, *, max_late_s: float) -> None:
        """Start without having seen a frame."""
        self.max_gap_s = max_gap_s
        self.max_late_s = max_late_s
        self._time_ns: int | None = None
        self._stamp_ns = 0  # of the frame that `_time_ns` belongs to
        self._arrival_ns: int | None = None
        self._aside: _Aside | None = None
        self._doubts: deque[bool] = deque(maxlen=_WINDOW)
        self._still: tuple[int, int] | None = None  # frames without progress, since which arrival
        self._pace: tuple[int, int] | None = None  # stamp and arrival from which pace is judged
        self._good: tuple[int, int, int] | None = None  # run: frames, first stamp, first arrival
        self._report = StampReport()

    @property
    def report(self) -> StampReport:
        """What happened so far; may be read from any thread."""
        return self._report

    def at(self, stamp_ns: int, arrival_ns: int | None = None) -> Instant:
        """Return what a frame means for the stream.

        Args:
            stamp_ns: Of its header, as it is; 0 and below count as empty.
            arrival_ns: When it came, on any clock that never steps back; None where frames do not
                arrive (files). Without it, stamps are used whatever they are.
        """
        if arrival_ns is not None and self._arrival_ns is not None:
            arrival_ns = max(arrival_ns, self._arrival_ns)
        if self._time_ns is None:
            instant = self._first(stamp_ns, arrival_ns)
        elif self._report.unusable and arrival_ns is not None:
            instant = self._by_arrival(stamp_ns, arrival_ns)
        else:
            instant = self._by_stamp(stamp_ns, arrival_ns)
        self._time_ns = instant.time_ns
        self._arrival_ns = arrival_ns
        return instant

    def _first(self, stamp_ns: int, arrival_ns: int | None) -> Instant:
        self._follow(stamp_ns, arrival_ns)
        if stamp_ns <= 0 and arrival_ns is not None:
            self._leave_stamps("are empty", stamp_ns, arrival_ns)
            return Instant(arrival_ns)
        return Instant(stamp_ns)

    def _by_stamp(self, stamp_ns: int, arrival_ns: int | None) -> Instant:
        time_ns, gap_ns = self._time_ns or 0, round(self.max_gap_s * _S)
        step = stamp_ns - self._stamp_ns
        goes_on = 0 <= step <= gap_ns or self._paused(step, arrival_ns)
        if stamp_ns <= 0 and arrival_ns is not None:
            self._count(doubtful=1)
            instant, doubt = Instant(time_ns, judged=False), True
        elif goes_on:
            self._aside = None
            self._stamp_ns = stamp_ns
            instant, doubt = Instant(time_ns + step), False
        else:
            instant = self._beside(stamp_ns, step, gap_ns)
            doubt = instant.doubtful or instant.restarted
        self._doubts.append(doubt)
        reason = "" if arrival_ns is None else self._unusable(instant, arrival_ns)
        if reason and arrival_ns is not None:
            self._leave_stamps(reason, stamp_ns, arrival_ns)
            return Instant(time_ns, judged=False, doubtful=instant.doubtful)
        return instant

    def _beside(self, stamp_ns: int, step: int, gap_ns: int) -> Instant:
        """Return what a frame means whose stamp does not go on from the stream."""
        time_ns, before = self._time_ns or 0, self._aside
        if before is not None and 0 < stamp_ns - before.stamp_ns <= gap_ns:
            self._aside = _Aside(stamp_ns, before.frames + 1, late=before.late)
        else:
            late_ns = min(gap_ns, round(self.max_late_s * _S))
            self._aside = before = _Aside(stamp_ns, 1, late=-late_ns <= step < 0)
        late = self._aside.late
        if self._aside.frames < (_LATE_CONFIRM if late else _JUMP_CONFIRM):
            self._count(late=late, doubtful=not late)
            return Instant(time_ns, judged=False, doubtful=not late)
        if late:  # the camera's clock was set back a little: the stream goes on from there
            self._follow(stamp_ns, None)
            return Instant(time_ns + stamp_ns - before.stamp_ns)
        self._count(restarts=1)
        _LOG.info("the stamps jump by %+.3f s: the stream starts anew", step / _S)
        self._follow(stamp_ns, None)
        return Instant(stamp_ns, restarted=True)

    def _by_arrival(self, stamp_ns: int, arrival_ns: int) -> Instant:
        passed = arrival_ns - (self._arrival_ns if self._arrival_ns is not None else arrival_ns)
        self._count(by_arrival=1)
        self._watch_recovery(stamp_ns, arrival_ns)
        return Instant((self._time_ns or 0) + passed)

    def _paused(self, step: int, arrival_ns: int | None) -> bool:
        """Return whether a step forward, however long, is a pause: arrival took that time, too."""
        if step <= 0 or arrival_ns is None or self._arrival_ns is None:
            return step > 0
        return step <= _FASTEST_PAUSE * (arrival_ns - self._arrival_ns)

    def _unusable(self, instant: Instant, arrival_ns: int) -> str:
        """Return what is wrong with the stamps, empty while they can be used."""
        if len(self._doubts) == _WINDOW and sum(self._doubts) >= _MANY * _WINDOW:
            return "jump or are empty"
        if instant.restarted or self._pace is None:
            self._pace = self._stamp_ns, arrival_ns
        if instant.time_ns == self._time_ns and not instant.restarted:
            frames, since = self._still or (0, arrival_ns)
            self._still = frames + 1, since
            if frames + 1 >= _STILL_FRAMES and arrival_ns - since >= _STILL_NS:
                return "jump" if instant.doubtful else "do not advance"
            return ""
        self._still = None
        stamp, arrival = self._pace
        if arrival_ns - arrival >= _PACE_NS:
            pace = (self._stamp_ns - stamp) / (arrival_ns - arrival)
            self._pace = self._stamp_ns, arrival_ns
            if not _PACES[0] <= pace <= _PACES[1]:
                return f"advance {pace:.3g} s a second"
        return ""

    def _watch_recovery(self, stamp_ns: int, arrival_ns: int) -> None:
        """Use stamps again once they have advanced plausibly for long enough."""
        step = stamp_ns - self._stamp_ns
        self._stamp_ns = stamp_ns
        if not 0 < step <= self.max_gap_s * _S or stamp_ns <= 0 or self._good is None:
            self._good = 0, stamp_ns, arrival_ns
            return
        frames, stamp, arrival = self._good
        self._good = frames + 1, stamp, arrival
        passed = arrival_ns - arrival
        if frames + 1 < _GOOD_FRAMES or passed < _GOOD_NS:
            return
        if _PACES[0] <= (stamp_ns - stamp) / passed <= _PACES[1]:
            self._follow(stamp_ns, arrival_ns)
            self._report = replace(self._report, unusable="")
            _LOG.info("header stamps advance again and are used from now on")

    def _leave_stamps(self, reason: str, stamp_ns: int, arrival_ns: int) -> None:
        self._report = replace(self._report, unusable=f"header stamps {reason}")
        self._good = None
        self._follow(stamp_ns, arrival_ns)
        _LOG.warning("header stamps %s: arrival time is used instead", reason)

    def _follow(self, stamp_ns: int, arrival_ns: int | None) -> None:
        """Let the stream go on from this frame."""
        self._stamp_ns, self._aside, self._still = stamp_ns, None, None
        if arrival_ns is not None:
            self._doubts.clear()
        self._pace = None if arrival_ns is None else (stamp_ns, arrival_ns)

    def _count(self, **more: int) -> None:
        report = self._report
        totals = {name: getattr(report, name) + count for name, count in more.items()}
        self._report = replace(report, **totals)
