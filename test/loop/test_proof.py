"""What lets an adapter serve and what does not, exact on figures that are given."""

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'semla-ros[train]'")

from semla_ros.core.novelty import NoveltyAlarm
from semla_ros.loop.proof import Thresholds, reasons, silenced
from semla_ros.loop.quarantine import DomainTrial, Verdict, verdict_table

OWN = DomainTrial("dusk", 20, 0.40, 0.50, 0.9)


@pytest.mark.parametrize(
    ("trials", "why"),
    [
        ((OWN, DomainTrial("fog", 20, 0.5, 0.498, 0.5)), ()),
        ((OWN, DomainTrial("fog", 0, share=0.01)), ()),
        ((replace(OWN, after=0.405),), ("its own domain gains +0.5 points",)),
        ((replace(OWN, after=float("nan")),), ("its own domain gains",)),
        ((OWN, DomainTrial("fog", 20, 0.5, 0.45)), ("fog loses 5.0 points of mIoU on 20 frames",)),
        ((OWN, DomainTrial("fog", 0, share=0.3)), ("take 30.0 % of the weight in fog",)),
        ((OWN, DomainTrial("fog", 0)), ("fog cannot be judged",)),
        ((replace(OWN, frames=7),), ("dusk has too few labelled frames to judge: 7, needs 8",)),
        ((OWN, DomainTrial("fog", 1, 0.5, 0.5, 0.0)), ("fog has too few labelled frames",)),
    ],
)
def test_it_must_pay_and_harm_nobody(trials, why):
    found = reasons(trials, Thresholds())
    assert len(found) == len(why)
    for text, part in zip(found, why, strict=True):
        assert part in text


@pytest.mark.parametrize(
    ("before", "after", "silent"),
    [
        (NoveltyAlarm(9.0, ""), NoveltyAlarm(0.0, "needs 50 images"), True),
        (NoveltyAlarm(9.0, ""), NoveltyAlarm(8.0, ""), False),
        (NoveltyAlarm(0.0, "needs 50 images"), NoveltyAlarm(0.0, "needs 50 images"), False),
        (None, NoveltyAlarm(0.0, "needs 50 images"), False),
    ],
)
def test_the_alarm_of_the_library_must_stay(before, after, silent):
    assert bool(silenced(before, after)) == silent


def test_a_verdict_that_rests_on_embeddings_says_so():
    trials = (OWN, DomainTrial("fog", 20, 0.5, 0.5), DomainTrial("rain", 0, share=0.01))
    assert "kept embeddings tell of rain:" in verdict_table(Verdict("dusk", "key", trials, ()))[-1]
    seen = Verdict("dusk", "key", trials[:2], ())
    assert verdict_table(seen)[-1] == "dusk pays and harms nobody"
