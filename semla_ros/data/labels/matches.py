"""Which frames found their labels, and why the others did not, in one line."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

_NEAR_NS = 1_000_000_000
_KEPT = 10_000


@dataclass(slots=True)
class Matches:
    """Counts frames with and without labels.

    Attributes:
        tolerance_ns: How far labels may lie from their frame.
        found: Frames with labels.
        missed: Frames without.
        frame: Name or stamp of the first one without.
    """

    tolerance_ns: int
    found: int = 0
    missed: int = 0
    frame: str = ""
    _offsets_ns: list[int] = field(default_factory=list)

    def hit(self) -> None:
        """Count a frame with labels."""
        self.found += 1

    def miss(self, frame: str, offset_ns: int | None) -> None:
        """Count a frame without labels, the nearest of which lie `offset_ns` later; None: none."""
        self.missed += 1
        self.frame = self.frame or frame
        if offset_ns is not None and abs(offset_ns) <= _NEAR_NS and len(self._offsets_ns) < _KEPT:
            self._offsets_ns.append(offset_ns)

    def gaps(self, label: str) -> str:
        """Return why frames are without labels, with one example of each; empty: nothing to say.

        Args:
            label: An example of the labels that there are.
        """
        close = [o for o in self._offsets_ns if abs(o) <= 10 * self.tolerance_ns]
        if not self.missed or (self.found and not close):
            return ""
        which = f"{self.missed} frames" if self.found else "no frame"
        if close or self._offsets_ns:
            offset_s = statistics.median(close or self._offsets_ns) * 1e-9
            worst_s = 1.25 * max(map(abs, close or self._offsets_ns)) * 1e-9
            direction = "behind" if offset_s > 0 else "before"
            verb = "have none" if self.found else "has labels"
            return (
                f"{which} {verb} within {self.tolerance_ns * 1e-9:g} s: the nearest labels lie "
                f"{abs(offset_s) * 1e3:.1f} ms {direction} their frames; if they belong together, "
                f"give --label-tolerance {max(worst_s, 1e-3):.3f}"
            )
        return (
            f"no frame has labels: labels were found, such as {label}, but none belongs to a "
            f"frame, such as {self.frame}: name them alike, or give the --label-map whose endings "
            "they have"
        )
