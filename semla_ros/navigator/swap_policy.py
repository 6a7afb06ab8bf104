"""When does a wanted mix replace the active one? Decided over sensor time, never by wall clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from semla_ros.core.config import Config
from semla_ros.core.errors import ConfigError
from semla_ros.core.types import AdapterMix

MIN_DIFFERENCE = 1e-3
"""Mixes nearer than this in total variation are the same to every policy."""


class SwapPolicy(Protocol):
    """Decides, observation by observation, whether the wanted mix is worth a swap."""

    @property
    def wanted_since_ns(self) -> int | None:
        """Stamp of the first observation of the run that wants (or just got) a swap."""
        ...

    def decide(
        self, wanted: AdapterMix, active: AdapterMix, stamp_ns: int, *, announced: bool = False
    ) -> AdapterMix | None:
        """Return the mix to swap to now, or None.

        Args:
            wanted: What retrieval asks for.
            active: What serves, or is being prepared to.
            stamp_ns: Stamp of the observation behind `wanted`.
            announced: Words said so before: this observation is their second witness.
        """
        ...

    def reset(self) -> None:
        """Forget the past: the stream starts anew."""
        ...


class DebouncePolicy:
    """Swap after a run of observations that want it, not more often than the dwell allows.

    An observation *wants* a swap where wanted and active mix differ by at least `trigger` (total
    variation). The run ends after `release_consecutive` observations in a row below `release`;
    what lies between neither counts nor ends it. A step back in time forgets everything.
    """

    def __init__(
        self,
        *,
        trigger: float,
        release: float,
        trigger_consecutive: int,
        release_consecutive: int,
        min_dwell_s: float,
    ) -> None:
        """Make a policy without a past.

        Raises:
            ConfigError: Thresholds out of order, or counts below 1.
        """
        if not 0 <= release <= trigger <= 1:
            raise ConfigError(
                f"expected 0 <= release <= trigger <= 1, got {release!r} and {trigger!r}"
            )
        if trigger_consecutive < 1 or release_consecutive < 1 or not min_dwell_s >= 0:
            raise ConfigError(
                "expected counts of at least 1 and a dwell >= 0 s, got "
                f"{trigger_consecutive!r}, {release_consecutive!r}, {min_dwell_s!r}"
            )
        self._trigger = max(trigger, MIN_DIFFERENCE)
        self._release = release
        self._trigger_consecutive = trigger_consecutive
        self._release_consecutive = release_consecutive
        self._min_dwell_ns = round(min_dwell_s * 1e9)
        self.reset()

    @property
    def wanted_since_ns(self) -> int | None:
        """Stamp of the first observation of the run, kept until the next decision."""
        return self._since_ns

    def reset(self) -> None:
        """Forget the run and the last swap."""
        self._wanting = 0
        self._released = 0
        self._since_ns: int | None = None
        self._last_swap_ns: int | None = None
        self._last_ns: int | None = None

    def decide(
        self, wanted: AdapterMix, active: AdapterMix, stamp_ns: int, *, announced: bool = False
    ) -> AdapterMix | None:
        """Return `wanted` if the run is long enough, or announced, and the dwell is over."""
        if self._last_ns is not None and stamp_ns < self._last_ns:
            self.reset()
        self._last_ns = stamp_ns
        wants = self._count(wanted.difference(active), stamp_ns)
        sure = announced or self._wanting >= self._trigger_consecutive
        if not wants or not sure or self._dwells(stamp_ns):
            return None
        self._wanting = self._released = 0
        self._last_swap_ns = stamp_ns
        return wanted

    def _count(self, difference: float, stamp_ns: int) -> bool:
        """Return whether this observation wants a swap, after counting it."""
        if self._wanting == 0:
            self._since_ns = None
        if difference >= self._trigger:
            self._since_ns = stamp_ns if self._since_ns is None else self._since_ns
            self._wanting += 1
            self._released = 0
            return True
        self._released = self._released + 1 if difference < self._release else 0
        if self._released >= self._release_consecutive:
            self._wanting, self._since_ns = 0, None
        return False

    def _dwells(self, stamp_ns: int) -> bool:
        last = self._last_swap_ns
        return last is not None and stamp_ns - last < self._min_dwell_ns


class AlwaysPolicy:
    """Swap whenever the mixes differ: SemLA's per-image behaviour, a baseline."""

    def __init__(self) -> None:
        self._since_ns: int | None = None

    @property
    def wanted_since_ns(self) -> int | None:
        """Stamp of the last observation that wanted a swap."""
        return self._since_ns

    def reset(self) -> None:
        """Forget the last observation."""
        self._since_ns = None

    def decide(
        self, wanted: AdapterMix, active: AdapterMix, stamp_ns: int, *, announced: bool = False
    ) -> AdapterMix | None:
        """Return `wanted` if it differs from `active`."""
        wants = wanted.difference(active) > MIN_DIFFERENCE
        self._since_ns = stamp_ns if wants else None
        return wanted if wants else None


class NeverPolicy:
    """Keep what is active: the frozen baseline."""

    @property
    def wanted_since_ns(self) -> int | None:
        """None: it never wants anything."""
        return None

    def reset(self) -> None:
        """Do nothing; there is no past."""

    def decide(
        self, wanted: AdapterMix, active: AdapterMix, stamp_ns: int, *, announced: bool = False
    ) -> AdapterMix | None:
        """Return None."""
        return None


def _debounce(config: Config) -> SwapPolicy:
    return DebouncePolicy(
        trigger=config.swap_trigger,
        release=config.swap_release,
        trigger_consecutive=config.trigger_consecutive,
        release_consecutive=config.release_consecutive,
        min_dwell_s=config.min_dwell_s,
    )


SWAP_POLICIES: Mapping[str, Callable[[Config], SwapPolicy]] = MappingProxyType(
    {"debounce": _debounce, "always": lambda _: AlwaysPolicy(), "never": lambda _: NeverPolicy()}
)
