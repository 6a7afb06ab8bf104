"""What laps of the loop's demo come to: per domain, and over the whole drive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from semla_ros.core.types import LabelArray, UInt8Array
from semla_ros.data.metrics import mean_iou, percentiles
from semla_ros.demo.footage import Answers, Footage
from semla_ros.demo.score import domain_counts, live_masks
from semla_ros.evaluation.files import plain
from semla_ros.evaluation.table import shown
from semla_ros.loop.quarantine import Verdict
from semla_ros.processes.live import LiveRun


@dataclass(frozen=True, slots=True)
class DomainLap:
    """One domain of a lap.

    Attributes:
        frames: Answered ones.
        miou: Of the masks that were published, percent; NaN without any.
        support: Mean smoothed support score; NaN without one.
        levels: Support level -> share of the frames.
        captured: Frames that were kept on disk.
    """

    frames: int
    miou: float
    support: float
    levels: Mapping[str, float]
    captured: int


@dataclass(frozen=True, slots=True)
class Lap:
    """A drive with a running node.

    Attributes:
        footage: What was driven through.
        answers: What the node published.
        sent: Images.
        latency_ms: p50, p95, p99 from image to mask, as they reached the recorder.
        domains: By domain, in order of appearance.
    """

    footage: Footage
    answers: Answers
    sent: int
    latency_ms: Mapping[str, float]
    domains: Mapping[str, DomainLap]

    @property
    def lost(self) -> int:
        """Images without a mask."""
        return self.sent - len(self.answers.by_stamp)

    def share(self, level: str, domains: Collection[str]) -> float:
        """Return the share of frames of `domains` at a support level, 0 without any frame."""
        chosen = [self.domains[name] for name in domains if name in self.domains]
        frames = sum(each.frames for each in chosen)
        at_level = sum(each.frames * each.levels.get(level, 0.0) for each in chosen)
        return at_level / max(frames, 1)

    def as_dict(self) -> dict[str, object]:
        """Return the numbers as plain values."""
        return {
            "sent": self.sent,
            "lost": self.lost,
            "latency_ms": dict(self.latency_ms),
            "swaps": sum(swap.committed for swap in self.answers.swaps),
            "domains": plain(self.domains),
        }


def lap_of(footage: Footage, run: LiveRun, answers: Answers, *, captured: Collection[int]) -> Lap:
    """Return what a lap came to.

    Args:
        footage: The drive.
        run: How it was played.
        answers: What the node published.
        captured: Stamps of the frames that were kept on disk.
    """
    miou = domain_miou(footage, live_masks(answers))
    domain_of = footage.domain_of
    domains = {}
    for name in miou:
        stamps = [s for s in answers.by_stamp if domain_of[s] == name]
        readings = [answers.by_stamp[s].result.support for s in stamps]
        scores = [r.smoothed for r in readings if r is not None and r.level != "STALE"]
        levels = Counter(r.level for r in readings if r is not None)
        domains[name] = DomainLap(
            frames=len(stamps),
            miou=miou[name],
            support=float(np.mean(scores)) if scores else float("nan"),
            levels={level: count / len(stamps) for level, count in sorted(levels.items())},
            captured=sum(domain_of.get(s) == name for s in captured),
        )
    latencies = [answer.latency_ms for answer in answers.by_stamp.values()]
    return Lap(footage, answers, len(run.sent), percentiles(latencies), domains)


def domain_miou(footage: Footage, masks: Mapping[int, LabelArray]) -> dict[str, float]:
    """Return domain -> mIoU of the frames that have a mask, percent, in order of appearance.

    NaN for a domain none of whose frames has one.
    """
    counts = domain_counts(footage, masks)
    return {name: 100 * float(mean_iou(each)) for name, each in counts.items()}


def gap_closed(before: float, after: float, full: float) -> float:
    """Return which share of the way from `before` to `full` was gone; NaN where there is none."""
    return (after - before) / (full - before) if full != before else float("nan")


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, as a user would do it, and how long it took."""

    what: str
    seconds: float


@dataclass(frozen=True, slots=True)
class FoundGap:
    """A gap that `semla gaps` found on the first lap.

    Attributes:
        name: As proposed.
        domains: What its frames were in truth -> how many.
        pictures: Some of them, evenly, RGB (H, W, 3).
        verdict: What `semla loop train` found of its adapter; None: it could not be trained.
        why_not: Why not, empty otherwise.
    """

    name: str
    domains: Mapping[str, int]
    pictures: tuple[UInt8Array, ...]
    verdict: Verdict | None = None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class LoopOutcome:
    """All that came of both laps.

    Attributes:
        missing: The domains that the library lacked.
        first, second: The laps, the second on another drive.
        full: The second drive with the whole library, nothing captured or reloaded: the quiet lap.
        before: Domain -> mIoU of the second drive with the first lap's library, percent.
        gaps: What was found in between.
        steps: What was done.
    """

    missing: tuple[str, ...]
    first: Lap
    second: Lap
    full: Lap
    before: Mapping[str, float]
    gaps: tuple[FoundGap, ...]
    steps: tuple[Step, ...]

    @property
    def known(self) -> tuple[str, ...]:
        """The domains that the library had."""
        return tuple(name for name in self.second.domains if name not in self.missing)

    @property
    def closed(self) -> dict[str, float]:
        """Missing domain -> share of its gap to the whole library that was closed."""
        after, full = self.second.domains, self.full.domains
        return {n: gap_closed(self.before[n], after[n].miou, full[n].miou) for n in self.missing}

    @property
    def closed_together(self) -> float:
        """The same of the mean mIoU of all missing domains."""
        before, after, full = (
            float(np.mean([values[name] for name in self.missing]))
            for values in (
                self.before,
                {name: each.miou for name, each in self.second.domains.items()},
                {name: each.miou for name, each in self.full.domains.items()},
            )
        )
        return gap_closed(before, after, full)

    @property
    def shows(self) -> str:
        """What came of it, in one paragraph."""
        first, second, quiet = self.first, self.second, self.full
        unknown = [100 * lap.share("OUT_OF_LIBRARY", self.missing) for lap in (first, second)]
        closed = shown(100 * self.closed_together, 0)
        return (
            f"{closed} % of the mIoU gap to the whole library closed; of "
            f"{' and '.join(self.missing)} {unknown[0]:.0f} % were out of library on lap 1, "
            f"{unknown[1]:.0f} % on lap 2; {first.lost} + {second.lost} of {first.sent} + "
            f"{second.sent} frames lost, {quiet.lost} of {quiet.sent} on a quiet lap"
        )

    def as_dict(self) -> dict[str, object]:
        """Return the numbers as plain values."""
        return {
            "missing": list(self.missing),
            "lap_1": self.first.as_dict(),
            "lap_2": self.second.as_dict(),
            "full_library": self.full.as_dict(),
            "lap_2_before": plain(self.before),
            "gap_closed": plain({**self.closed, "mean": self.closed_together}),
            "gaps": [
                {
                    "name": gap.name,
                    "domains": dict(gap.domains),
                    "serves": gap.verdict is not None and gap.verdict.passed,
                    "why_not": gap.why_not or list(gap.verdict.reasons if gap.verdict else ()),
                }
                for gap in self.gaps
            ],
            "steps": [
                {"what": step.what, "seconds": round(step.seconds, 1)} for step in self.steps
            ],
        }
