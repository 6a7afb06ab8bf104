"""What adaptation was worth: exact on answers whose worth is known."""

import numpy as np
import pytest

from semla_ros.core.answers import SegmentationResult, SupportReading
from semla_ros.core.types import AdapterMix, Frame
from semla_ros.core.viz.palette import vocabulary_of
from semla_ros.demo import showcase
from semla_ros.demo.footage import Answer, Answers, Footage
from semla_ros.demo.score import score_drive
from semla_ros.demo.showcase_page import showcase_page
from semla_ros.processes.live import LiveRun

NAMES = ("road", "car", "sky", "tree")


@pytest.fixture
def drive(tmp_path):
    """Four frames of two domains with random truth; the node answered three of them."""
    rng = np.random.default_rng(0)
    frames = tuple(
        Frame(i * 100, "camera", rng.integers(0, 256, (24, 40, 3), dtype=np.uint8))
        for i in range(4)
    )
    labels = tuple(rng.integers(0, 4, (24, 40), dtype=np.uint8) for _ in frames)
    path = tmp_path / "camera.mcap"
    footage = Footage(frames, labels, ("fog", "fog", "rain", "rain"), path, 0.4)
    answers = Answers({i * 100: _answer(i, labels[i]) for i in range(3)}, ())
    return footage, LiveRun(path, (0, 100, 200, 300)), answers


def _answer(index, labels):
    reading = SupportReading(0.2, 0.1 * (index + 1), "fog", 5.0, "OK", 0)
    result = SegmentationResult(
        stamp_ns=index * 100,
        frame_id="camera",
        labels=labels,
        confidence=np.zeros_like(labels),
        vocabulary=vocabulary_of(NAMES),
        mix=AdapterMix.base_only(),
        support=reading,
        estimate=None,
    )
    return Answer(result, 10.0 * (index + 1))


def test_true_masks_score_a_hundred_and_lost_frames_are_counted(drive, tiny):
    footage, run, answers = drive
    score = score_drive(footage, run, answers, bundle=tiny.root)
    assert (score.sent, score.received) == (4, 3)
    assert {name: d.frames for name, d in score.domains.items()} == {"fog": 2, "rain": 1}
    assert all(d.adapted == 100.0 for d in score.domains.values())
    assert score.adapted == 100.0
    assert all(d.without < 60.0 for d in score.domains.values()), "random truth"
    assert score.domains["fog"].support == pytest.approx(0.15)
    assert score.latency_ms["p50"] == 20.0


def test_weather_without_any_answer_is_told_and_not_left_out(drive, tiny):
    footage, run, answers = drive
    fog = Answers({stamp: a for stamp, a in answers.by_stamp.items() if stamp < 200}, ())
    score = score_drive(footage, run, fog, bundle=tiny.root)
    assert (score.domains["rain"].frames, score.domains["fog"].adapted) == (0, 100.0)
    assert np.isnan(score.domains["rain"].adapted)
    assert np.isnan(score.adapted), "a mean of what was answered would hide the rest"
    assert "– % with it" in showcase._shows(fog, score)
    page = showcase_page(footage, fog, score, {"versions": {}})
    assert ">– %<" in page
    assert not any(words in page for words in (">nan", "nan %"))
