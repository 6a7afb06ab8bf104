"""One row a frame, from whatever the study holds."""

import numpy as np
import pytest

from semla_ros.core.errors import EvaluationError
from semla_ros.evaluation.analysis.frames import frame_table, main_strategy


@pytest.fixture
def recording(made):
    return made.recording(
        "drive",
        ("fog-day", "fog-day", "rain-day", "fog-day", ""),
        [0.1, 0.2, np.nan, 0.4, 0.5],
        [0.5] * 5,
        distances=np.tile([1.0, 2.0, 3.0, 4.0], (5, 1)),
        novelty=np.array([1.0, 30.0, 1.0, np.nan, 1.0]),
        scored=np.array([True, True, True, False, True]),
        levels=("OK", "OUT_OF_LIBRARY", "", "LOW", "OK"),
    )


def test_frames_keep_domain_truth_and_blocks(made, recording):
    table = frame_table([made.study([recording])])
    assert table.domain.tolist() == ["fog-day", "fog-day", "rain-day", "fog-day", "drive"]
    assert np.isnan(table.miou[3])
    assert len(set(table.block.tolist())) == 4, "an unbroken stretch of one domain is a block"
    assert len(table.judged) == 3
    assert len(table.promised) == 2, "out of the library nothing is promised"
    assert len(frame_table([made.study([recording])] * 2)) == 10


def test_levels_of_the_frame_alone_follow_the_studys_thresholds(made, recording):
    table = frame_table([made.study([recording])], strategy="semla")
    assert table.level.tolist() == ["LOW", "OUT_OF_LIBRARY", "", "OK", "OK"]


def test_an_adapter_that_was_left_out_is_not_the_nearest(made, recording):
    whole = frame_table([made.study([recording])])
    assert whole.nearest_distance.tolist() == [1.0] * 5
    without = frame_table([made.study([recording], leave_out="domain")])
    assert without.nearest_distance.tolist() == [2.0, 2.0, 1.0, 2.0, 1.0]


def test_signals_are_turned_so_that_large_is_good(made, recording):
    table = frame_table([made.study([recording])])
    np.testing.assert_array_equal(table.signal("novelty"), -table.novelty)
    np.testing.assert_array_equal(table.signal("support"), table.support)
    with pytest.raises(EvaluationError, match="expected a signal"):
        table.signal("luck")


def test_the_robots_strategy_comes_first(made, recording):
    assert main_strategy(made.study([recording])) == "semla-gated"
    with pytest.raises(EvaluationError, match="at least one strategy"):
        main_strategy(made.study([]))
    with pytest.raises(EvaluationError, match="'nobody'"):
        frame_table([made.study([recording])], strategy="nobody")
