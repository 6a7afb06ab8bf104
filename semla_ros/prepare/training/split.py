"""Which frames are held out: whole recordings or whole stretches, never neighbours of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semla_ros.core.errors import TrainingError

_WHOLE = 5
"""From so many recordings on whole ones are held out."""
_GAP = 40
"""A stretch of 1 / 40 of a recording between both sides is used by neither."""


@dataclass(frozen=True, slots=True)
class Split:
    """Places in the list of labelled frames.

    Attributes:
        train: To learn from.
        held_out: To judge by.
        unused: Between the two.
        rule: How it was made, in words.
    """

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    unused: tuple[int, ...]
    rule: str


def split_frames(
    recordings: Sequence[int], *, share: float, held_out: frozenset[int] = frozenset()
) -> Split:
    """Return the split of labelled frames, in order, each of a recording.

    Given recordings are held out as they are. Else, of five recordings or more, every so many is
    held out as a whole; of fewer, the last stretch of each.

    Args:
        recordings: Number of the recording of each frame.
        share: Of the frames to hold out, where no recordings are given.
        held_out: Recordings that were given for it.

    Raises:
        TrainingError: A side is empty.
    """
    places = {r: [i for i, of in enumerate(recordings) if of == r] for r in sorted({*recordings})}
    chosen = set(held_out)
    if not chosen and len(places) >= _WHOLE:
        every = max(2, round(1 / share))
        chosen = {r for n, r in enumerate(places) if n % every == every - 1}
        rule = f"every {every}th of {len(places)} recordings"
    elif chosen:
        rule = "the recordings given with --held-out"
    else:
        rule = f"the last {share:.0%} of each recording, a gap before it"
        return _checked(_stretches(places, share, rule), len(recordings))
    train = tuple(i for i, of in enumerate(recordings) if of not in chosen)
    rest = tuple(i for i, of in enumerate(recordings) if of in chosen)
    return _checked(Split(train, rest, (), rule), len(recordings))


def _stretches(places: dict[int, list[int]], share: float, rule: str) -> Split:
    train: list[int] = []
    rest: list[int] = []
    unused: list[int] = []
    for own in places.values():
        last = round(len(own) * share)
        gap = max(1, len(own) // _GAP) if last else 0
        cut = len(own) - last
        train += own[: max(0, cut - gap)]
        unused += own[max(0, cut - gap) : cut]
        rest += own[cut:]
    return Split(tuple(train), tuple(rest), tuple(unused), rule)


def _checked(split: Split, count: int) -> Split:
    for name, side in (("train", split.train), ("held out", split.held_out)):
        if not side:
            raise TrainingError(
                f"expected labelled frames on both sides of the split, got none to "
                f"{'train on' if name == 'train' else 'hold out'} of {count} ({split.rule}): give "
                "more frames, --held-out RECORDING, or another --set held_out"
            )
    return split
