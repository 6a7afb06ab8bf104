"""One fault's trial: what happened before, during and after it, and what that means; pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from semla_ros.bench.drill.heard import (
    LEVELS,
    SERVING,
    Answer,
    Diagnosed,
    Heard,
    Mask,
    Sent,
    Support,
)
from semla_ros.core.config import PARAMETERS

STAMP_SLACK_S, CLOCK_SLACK_S = 0.2, 2.0
"""What an age may exceed its limit by: by stamps hardly anything, by the clock as much as an image
and its answer may be on their way on a machine that is busy."""

LIMIT_S = float(PARAMETERS["support_max_age_s"].default)
"""How old an observation may be that a planner is told to trust."""

AHEAD_S = float(PARAMETERS["max_gap_s"].default)
"""How much newer than its mask an observation may be: smaller steps back keep what was seen."""

NOISE = "noise"
_NS = 1e-9
_SHOWN = 140

Reference = tuple[tuple[str, int, int, int], str]
"""A picture and the one adapter, or the base alone, that serves: there is one right mask."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault.

    Attributes:
        heard: Everything from the node's start to `until`.
        begin, end, until: When the fault began and ended and the observation ended, ns.
        before: Part -> its diagnostics before the fault.
        answers: What services answered to the drill's orders, by the names it gave them.
        facts: What the fault's script saw for itself, by names of its own.
        ended: How the node's process ended, empty while it lives.
        stamps_usable: Whether images can be told apart by their stamps.
        known: The right masks of pictures, as checksums, from trials before.
    """

    heard: Heard
    begin: int
    end: int
    until: int
    before: Mapping[str, Diagnosed]
    answers: Mapping[str, Answer] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    ended: str = ""
    stamps_usable: bool = True
    known: Mapping[Reference, int] = field(default_factory=dict)

    @property
    def during(self) -> Heard:
        """What happened while the fault lasted."""
        return self.heard.between(self.begin, self.end)

    @property
    def window(self) -> Heard:
        """What happened from the fault's beginning to the end of the observation."""
        return self.heard.between(self.begin, self.until)

    @property
    def by_stamp(self) -> Mapping[int, Sent]:
        """Stamp -> the first image that bore it."""
        return {sent.stamp: sent for sent in reversed(self.heard.sent)}


def wrong_masks(trial: Trial) -> list[str]:
    """Return, for each mask that answers nothing or answers it wrongly, what is wrong."""
    sent, sizes = trial.by_stamp, {(s.height, s.width) for s in trial.heard.sent}
    mixes = {s.stamp: s.mix for s in trial.heard.supports}
    times = Counter(s.stamp for s in trial.heard.sent if not s.broken)
    seen: Counter[int] = Counter()
    known = dict(trial.known)
    found = []
    for mask in trial.window.masks:
        if not trial.stamps_usable:
            if (mask.height, mask.width) not in sizes:
                found.append(f"a mask of {mask.width} x {mask.height}, a size never sent")
            continue
        seen[mask.stamp] += 1
        found += _wrong(mask, sent.get(mask.stamp), again=seen[mask.stamp] > times[mask.stamp])
        if mask.stamp in sent and is_exact(mix := mixes.get(mask.stamp, "")):
            right = known.setdefault((sent[mask.stamp].picture, mix), mask.check)
            if right != mask.check:
                found.append(f"another mask than before of the same picture under {mix}")
    return found


def _wrong(mask: Mask, sent: Sent | None, *, again: bool) -> Iterator[str]:
    if sent is None:
        yield "a mask of an image that was never sent"
    elif sent.broken:
        yield f"a mask of a broken image ({sent.broken})"
    elif (mask.height, mask.width) != (sent.height, sent.width):
        yield f"a mask of {mask.width} x {mask.height} for {sent.width} x {sent.height}"
    elif again:
        yield "an image answered twice"


def is_exact(mix: str) -> bool:
    """Return whether the mix is one adapter, or the base: its key then has no rounded weights."""
    return bool(mix) and "," not in mix


def references(trial: Trial) -> dict[Reference, int]:
    """Return the checksums of masks from before the fault, to hold later ones against."""
    mixes = {s.stamp: s.mix for s in trial.heard.supports}
    sent, found = trial.by_stamp, dict(trial.known)
    for mask in trial.heard.between(0, trial.begin).masks:
        if mask.stamp in sent and is_exact(mix := mixes.get(mask.stamp, "")):
            found.setdefault((sent[mask.stamp].picture, mix), mask.check)
    return found


class Lie(NamedTuple):
    """A support message that calls something fresh: what it rests on, and how old that is, s."""

    text: str
    age_s: float


def lies(trial: Trial) -> list[Lie]:
    """Return every support message that calls something old or unknown fresh."""
    if not trial.stamps_usable:
        return []
    sent = trial.by_stamp
    noise = min((s.at for s in trial.window.sent if s.group == NOISE), default=None)
    found: list[Lie] = []
    for support in trial.window.supports:
        if support.level in SERVING:
            found += _lie(support, sent, noise)
    return found


def _lie(support: Support, sent: Mapping[int, Sent], noise: int | None) -> Iterator[Lie]:
    level = support.level
    age_s = (support.stamp - support.observed) * _NS
    seen, own = sent.get(support.observed), sent.get(support.stamp)
    if age_s > LIMIT_S + STAMP_SLACK_S:
        yield Lie(f"{level} by an observation old by its stamp", age_s)
    elif age_s < -AHEAD_S:
        yield Lie(f"{level} by an observation from before a step back", -age_s)
    elif seen is not None and (support.at - seen.at) * _NS > LIMIT_S + CLOCK_SLACK_S:
        yield Lie(f"{level} by an observation old by the clock", (support.at - seen.at) * _NS)
    elif noise is not None and own is not None and own.group == NOISE:
        since_s = (own.at - noise) * _NS
        if since_s > LIMIT_S + CLOCK_SLACK_S:
            yield Lie(f"{level} over pure noise", since_s)


def recovery_s(trial: Trial) -> float | None:
    """Return how long after the fault's end everything was as before, None if it never was.

    That is: a mask of an image sent since, support to act on by an observation made since, and
    diagnostics at most as bad as before.
    """
    moments = (_mask_again(trial), _support_again(trial), _diagnostics_again(trial))
    if None in moments:
        return None
    return max(0.0, max(m for m in moments if m is not None) - trial.end) * _NS


def _mask_again(trial: Trial) -> int | None:
    sent = trial.by_stamp
    for mask in trial.heard.between(trial.end, trial.until).masks:
        own = sent.get(mask.stamp)
        if own is not None and own.at > trial.end:
            return mask.at
    return None


def _support_again(trial: Trial) -> int | None:
    sent = trial.by_stamp
    for support in trial.heard.between(trial.end, trial.until).supports:
        seen = sent.get(support.observed)
        if support.level in SERVING and seen is not None and seen.at > trial.end:
            return support.at
    return None


def _diagnostics_again(trial: Trial) -> int | None:
    """Return the last moment at which a part became as good as before, None: one is not."""
    bad, since = set(trial.before), trial.end
    for each in trial.heard.between(trial.end, trial.until).diagnosed:
        if each.part not in trial.before or each.level > trial.before[each.part].level:
            bad.add(each.part)
        elif each.part in bad:
            bad.remove(each.part)
            since = each.at
    return None if bad else since


def raised(trial: Trial, *, grace_s: float = 1.5) -> list[Diagnosed]:
    """Return the statuses worse than before, from the beginning to `grace_s` after the end."""
    last = min(trial.until, trial.end + round(grace_s * 1e9))
    return [
        each
        for each in trial.heard.between(trial.begin, last).diagnosed
        if each.part not in trial.before or each.level > trial.before[each.part].level
    ]


def published(trial: Trial) -> str:
    """Return in words what was published while the fault lasted."""
    during, seconds = trial.during, max(1e-9, (trial.end - trial.begin) * _NS)
    good = sum(not s.broken for s in during.sent)
    levels = Counter(s.level for s in during.supports)
    told = ", ".join(f"{n} {level}" for level, n in levels.most_common()) or "none"
    text = f"{len(during.masks)} masks ({len(during.masks) / seconds:.1f}/s) of {good} good"
    text += f" and {len(during.sent) - good} broken images; support: {told}"
    swaps = Counter("done" if s.committed else "failed" for s in during.swaps)
    if swaps:
        text += "; swaps: " + ", ".join(f"{n} {how}" for how, n in swaps.items())
    return text


def diagnostics(trial: Trial) -> str:
    """Return in words which parts of the diagnostics became worse."""
    worst: dict[str, Diagnosed] = {}
    for each in raised(trial):
        if each.part not in worst or each.level >= worst[each.part].level:
            worst[each.part] = each
    told = [f"{p} {LEVELS[d.level]}: {_short(d.message)}" for p, d in sorted(worst.items())]
    return "; ".join(told) or "as before"


def _short(text: str) -> str:
    flat = re.sub(r"/\S*/semla-drill-\w+/", "", " ".join(text.split()))
    return flat if len(flat) <= _SHOWN else flat[: _SHOWN - 1] + "…"
