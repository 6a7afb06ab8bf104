"""The stages of a drive: runs of frames of one domain, and the adapter expected in each.

Expected is the adapter named like the domain, or, where there is none or it is left out, the one
that per-frame SemLA leans on over the second half of the stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semla_ros.core.types import BASE
from semla_ros.evaluation.study.strategies import left_out, named_like
from semla_ros.evaluation.study.study import SEMLA, SequenceResult


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of frames of one domain.

    Attributes:
        domain: Its domain.
        start, stop: Its frames: start <= i < stop.
        visit: How often the domain was there before, from 0.
        expected: The adapter (or the base) whose mixes belong here; "" if unknown.
    """

    domain: str
    start: int
    stop: int
    visit: int
    expected: str

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.stop - self.start


def stages_of(
    recording: SequenceResult, adapters: Sequence[str], *, leave_out: str = ""
) -> tuple[Stage, ...]:
    """Return the stages of a recording; frames of unknown domain belong to none.

    Args:
        recording: The drive.
        adapters: `StudyInfo.adapters`.
        leave_out: `StudyInfo.leave_out`: what cannot be expected.
    """
    stages: list[Stage] = []
    seen: dict[str, int] = {}
    start = 0
    for i in range(1, recording.frames + 1):
        if i < recording.frames and recording.domains[i] == recording.domains[start]:
            continue
        domain = recording.domains[start]
        if domain:
            expected = _expected(recording, adapters, (start, i), leave_out=leave_out)
            stages.append(Stage(domain, start, i, seen.get(domain, 0), expected))
            seen[domain] = seen.get(domain, 0) + 1
        start = i
    return tuple(stages)


def _expected(
    recording: SequenceResult,
    adapters: Sequence[str],
    frames: tuple[int, int],
    *,
    leave_out: str,
) -> str:
    start, stop = frames
    domain = recording.domains[start]
    own = named_like(domain, adapters)
    if own is not None and own not in left_out(leave_out, adapters, domain):
        return own
    semla = recording.results.get(SEMLA)
    if semla is None:
        return ""
    settled = semla.weights[start + (stop - start) // 2 : stop]
    return (*adapters, BASE)[int(settled.mean(axis=0).argmax())]
