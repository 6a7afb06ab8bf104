"""How fresh the images are: whether the camera stalled, how old an image is, what came when.

Two clocks judge: the node's, which is simulated where `use_sim_time` is set and may then stand
still or step back, and a steady one, which always goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from semla_ros.core.errors import FrameTooOldError
from semla_ros.core.timing import now_ms


class Time(Protocol):
    """What is read of `rclpy.time.Time`."""

    @property
    def nanoseconds(self) -> int:
        """Nanoseconds since the clock's epoch."""
        ...


class NodeClock(Protocol):
    """What is read of `rclpy.clock.ROSClock`."""

    @property
    def ros_time_is_active(self) -> bool:
        """Whether the time is simulated."""
        ...

    def now(self) -> Time:
        """Return the time, 0 before simulated time has begun."""
        ...


class _Moment(NamedTuple):
    """A moment by the time that silence is measured in, and by the steady clock."""

    ns: int
    steady_ms: float


class Freshness:
    """The freshness of one stream of images, from when it is made.

    Silence is measured in simulated time where there is one, so that a slow simulation has as long
    as it needs; in steady time otherwise, and where simulated time stands still or stepped back.
    """

    def __init__(self, clock: NodeClock, *, steady_ms: Callable[[], float] = now_ms) -> None:
        """Begin now; the stream counts as answered this moment.

        Args:
            clock: The node's.
            steady_ms: Milliseconds of a clock that never steps back.
        """
        self._clock = clock
        self._steady_ms = steady_ms
        self._begun = self._answered = self._looked = self._now()

    def age_s(self, stamp_ns: int) -> float | None:
        """Return the age of an image by the node's clock.

        None, unknown, of an image without a stamp, and before simulated time has begun.

        Args:
            stamp_ns: Of its header; 0: it has none.
        """
        now_ns = self._clock.now().nanoseconds
        return (now_ns - stamp_ns) * 1e-9 if now_ns and stamp_ns else None

    def require(self, stamp_ns: int, *, max_age_s: float) -> None:
        """Check that an image is at most `max_age_s` old; 0: of any age.

        Raises:
            FrameTooOldError: It is older, or says not when it was taken.
        """
        if not stamp_ns and max_age_s > 0 and self._clock.now().nanoseconds:
            raise FrameTooOldError(
                f"expected an image at most {max_age_s:g} s old, got one without a stamp: let the "
                "camera's driver stamp it, or set max_image_age_s to 0"
            )
        age_s = self.age_s(stamp_ns)
        if age_s is not None and age_s > max_age_s > 0:
            raise FrameTooOldError(
                f"expected an image at most {max_age_s:g} s old, got {age_s:.3f} s"
            )

    def answered(self) -> float | None:
        """Take note that an image was usable; return the seconds since the one before, if any."""
        before, self._answered = self._answered, self._now()
        if before is self._begun:
            return None
        return (self._answered.steady_ms - before.steady_ms) * 1e-3

    def silence_s(self) -> float:
        """Return for how long no image was usable; to be called periodically."""
        now, before, answered = self._now(), self._looked, self._answered
        self._looked = now
        if now.ns == before.ns or now.ns < answered.ns:
            return (now.steady_ms - answered.steady_ms) * 1e-3
        return (now.ns - answered.ns) * 1e-9

    def _now(self) -> _Moment:
        steady_ms = self._steady_ms()
        if self._clock.ros_time_is_active:
            return _Moment(self._clock.now().nanoseconds, steady_ms)
        return _Moment(round(steady_ms * 1e6), steady_ms)
