"""What laps come to: exact on answers whose worth is known; and the page says it."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'semla-ros[evaluate]'")

from semla_ros.core.answers import SegmentationResult, SupportReading
from semla_ros.core.types import AdapterMix, Frame
from semla_ros.core.viz.palette import vocabulary_of
from semla_ros.demo.footage import Answer, Answers, Footage
from semla_ros.demo.laps import FoundGap, LoopOutcome, Step, gap_closed, lap_of
from semla_ros.demo.loop_page import loop_page
from semla_ros.loop.quarantine import DomainTrial, Verdict
from semla_ros.processes.live import LiveRun

NAMES = ("road", "car", "sky", "tree")
DOMAINS = ("fog", "fog", "snow", "snow")


def lap(tmp_path, levels, *, right, captured=()):
    """Return a lap of four frames; masks are true where `right`.

    The last frame was lost, and those without a level."""
    rng = np.random.default_rng(0)
    frames = tuple(
        Frame(i * 10**8, "camera", rng.integers(0, 256, (24, 40, 3), dtype=np.uint8))
        for i in range(4)
    )
    labels = tuple(rng.integers(0, 4, (24, 40), dtype=np.uint8) for _ in frames)
    footage = Footage(frames, labels, DOMAINS, tmp_path / "camera.mcap", 0.4)
    by_stamp = {}
    for frame, truth, level, good in zip(frames, labels, levels, right, strict=False):
        if not level:
            continue
        result = SegmentationResult(
            stamp_ns=frame.stamp_ns,
            frame_id="camera",
            labels=truth if good else (truth + 1) % 4,
            confidence=np.zeros_like(truth),
            vocabulary=vocabulary_of(NAMES),
            mix=AdapterMix(("fog",), (1.0,)),
            support=SupportReading(0.2, 0.1, "fog", 5.0, level, 0),
            estimate=None,
        )
        by_stamp[frame.stamp_ns] = Answer(result, 10.0)
    run = LiveRun(footage.camera, tuple(f.stamp_ns for f in frames))
    return lap_of(footage, run, Answers(by_stamp, ()), captured=captured)


@pytest.fixture
def outcome(tmp_path):
    out = "OUT_OF_LIBRARY"
    verdict = Verdict("snowy", "key", (DomainTrial("snowy", 3, 0.2, 0.4, 0.9),), ())
    picture = np.zeros((24, 40, 3), np.uint8)
    return LoopOutcome(
        missing=("snow",),
        first=lap(tmp_path, ("OK", "OK", out), right=(True, True, False), captured=(2 * 10**8, 7)),
        second=lap(tmp_path, ("OK", "LOW", "OK"), right=(True, True, True)),
        full=lap(tmp_path, ("OK", "OK", "OK"), right=(True, True, True)),
        before={"fog": 90.0, "snow": 20.0},
        gaps=(FoundGap("snowy", {"snow": 3}, (picture,), verdict),),
        steps=(Step("lap 1", 60.0), Step("lap 2", 60.0)),
    )


def test_a_lap_counts_frames_levels_and_captures(outcome):
    first = outcome.first
    assert (first.sent, first.lost) == (4, 1)
    assert {n: d.frames for n, d in first.domains.items()} == {"fog": 2, "snow": 1}
    assert (first.domains["fog"].miou, first.domains["snow"].miou) == (100.0, 0.0)
    assert first.domains["snow"].levels == {"OUT_OF_LIBRARY": 1.0}
    assert first.domains["snow"].captured == 1, "stamps of other laps do not count"
    assert first.share("OUT_OF_LIBRARY", ("fog", "snow")) == pytest.approx(1 / 3)
    assert first.share("OUT_OF_LIBRARY", ("nowhere",)) == 0.0
    assert outcome.second.domains["fog"].levels == {"LOW": 0.5, "OK": 0.5}


def test_the_gap_is_held_against_the_whole_library(outcome):
    assert outcome.known == ("fog",)
    assert outcome.closed == {"snow": 1.0}
    half = {**outcome.second.domains}
    half["snow"] = replace(half["snow"], miou=60.0)
    partly = replace(outcome, second=replace(outcome.second, domains=half))
    assert partly.closed_together == pytest.approx(0.5)
    assert np.isnan(gap_closed(30.0, 40.0, 30.0)), "there was no gap"


def test_summary_and_page_say_the_same(outcome):
    summary = json.loads(json.dumps(outcome.as_dict(), allow_nan=False))
    assert summary["gap_closed"] == {"snow": 1.0, "mean": 1.0}
    assert summary["lap_1"]["domains"]["snow"]["captured"] == 1
    assert summary["gaps"] == [
        {"name": "snowy", "domains": {"snow": 3}, "serves": True, "why_not": []}
    ]
    assert "100 % of the mIoU gap" in outcome.shows
    page = loop_page(outcome)
    for words in ("100 % → 0 %", "1 + 1", "of the mIoU gap closed", "It pays and harms nobody"):
        assert words in page
    refused = replace(outcome.gaps[0], verdict=None, why_not="semla: error: too few")
    assert "No adapter: semla: error: too few" in loop_page(replace(outcome, gaps=(refused,)))


def test_without_a_gap_the_share_is_unknown(outcome):
    same = replace(outcome, before={"fog": 90.0, "snow": 100.0})
    assert json.loads(json.dumps(same.as_dict(), allow_nan=False))["gap_closed"]["snow"] is None
    assert loop_page(replace(same, gaps=()))


def test_weather_without_any_answer_is_told_and_not_left_out(outcome, tmp_path):
    blind = lap(tmp_path, ("OK", "OK", ""), right=(True, True, True))
    assert blind.domains["snow"].frames == 0
    assert blind.lost == 2
    unseen = replace(outcome, second=blind, full=blind)
    summary = json.loads(json.dumps(unseen.as_dict(), allow_nan=False))
    assert summary["lap_2"]["domains"]["snow"]["miou"] is None
    assert summary["gap_closed"] == {"snow": None, "mean": None}
    assert "– % of the mIoU gap" in unseen.shows
    page = loop_page(unseen)
    assert ">– %<" in page
    assert not any(words in page for words in (">nan", "nan %"))
