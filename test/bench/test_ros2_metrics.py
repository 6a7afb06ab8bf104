"""ros2_benchmark's metrics, recomputed from their definitions."""

import pytest

from semla_ros.bench.ros2_metrics import PREFIX, basic_metrics, conclude, sustainable

MS = 1_000_000


def run_at(period_ms, *, frames=50, latency_ms=20, lost=()):
    """Return sent stamps and arrivals of an even run."""
    sent = [i * period_ms * MS for i in range(1, frames + 1)]
    arrived = {s: s + latency_ms * MS for i, s in enumerate(sent) if i not in lost}
    return sent, arrived


def test_an_even_run():
    found = basic_metrics(*run_at(100))
    assert found[PREFIX + "NUM_FRAMES_SENT"] == 50
    assert found[PREFIX + "NUM_MISSED_FRAMES"] == 0
    assert found[PREFIX + "RECEIVED_DURATION"] == pytest.approx(4900)
    assert found[PREFIX + "MEAN_FRAME_RATE"] == pytest.approx(50 / 4.9)
    assert found[PREFIX + "MEAN_PLAYBACK_FRAME_RATE"] == pytest.approx(50 / 4.9)
    for name in ("MEAN", "MAX", "MIN", "FIRST_SENT_RECEIVED", "LAST_SENT_RECEIVED"):
        assert found[f"{PREFIX}{name}_LATENCY"] == pytest.approx(20)
    assert found[PREFIX + "MAX_JITTER"] == pytest.approx(0)


def test_the_keys_are_those_of_ros2_benchmark():
    assert {key.removeprefix(PREFIX) for key in basic_metrics(*run_at(100))} == {
        "RECEIVED_DURATION",
        "MEAN_PLAYBACK_FRAME_RATE",
        "MEAN_FRAME_RATE",
        "NUM_MISSED_FRAMES",
        "NUM_FRAMES_SENT",
        "FIRST_SENT_RECEIVED_LATENCY",
        "LAST_SENT_RECEIVED_LATENCY",
        "FIRST_INPUT_LATENCY",
        "LAST_INPUT_LATENCY",
        "MAX_LATENCY",
        "MIN_LATENCY",
        "MEAN_LATENCY",
        "MAX_JITTER",
        "MIN_JITTER",
        "MEAN_JITTER",
        "STD_DEV_JITTER",
    }


def test_lost_frames_are_missed_and_nothing_came_is_no_error():
    assert basic_metrics(*run_at(100, lost=(3, 4)))[PREFIX + "NUM_MISSED_FRAMES"] == 2
    sent, _ = run_at(100)
    found = basic_metrics(sent, {})
    assert found[PREFIX + "NUM_MISSED_FRAMES"] == 50
    assert PREFIX + "MEAN_LATENCY" not in found


def test_repeats_are_concluded_without_trimming():
    runs = [basic_metrics(*run_at(100, latency_ms=ms)) for ms in (10, 20, 90)]
    found = conclude(runs)
    assert found[PREFIX + "MAX_LATENCY"] == pytest.approx(90)
    assert found[PREFIX + "MIN_LATENCY"] == pytest.approx(10)
    assert found[PREFIX + "MEAN_LATENCY"] == pytest.approx(40)
    assert conclude([]) == {}


@pytest.mark.parametrize(
    ("lost", "loss", "kept"),
    [((), 0.0, True), ((5,), 0.0, False), ((5,), 0.02, True), ((5, 6), 0.02, False)],
)
def test_a_rate_is_kept_up_within_the_loss(lost, loss, kept):
    assert sustainable(basic_metrics(*run_at(20, lost=lost)), loss=loss) is kept


def test_answers_that_fall_behind_are_not_kept_up():
    sent, _ = run_at(20)
    late = {s: s + (i + 1) * 10 * MS for i, s in enumerate(sent)}
    assert not sustainable(basic_metrics(sent, late), loss=0.01)
