from __future__ import annotations

import numpy as np
import pytest

from semla_ros.core.errors import EvaluationError
from semla_ros.data.labels.source import check_truth_size
from semla_ros.evaluation.study.observation import score_frame


def test_a_mask_is_scored_at_the_size_of_its_truth() -> None:
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    sure = np.full((2, 2), 255, np.uint8)
    truth = labels.repeat(8, 0).repeat(8, 1)
    for size in ((4, 4), (16, 16), (32, 32)):
        score = score_frame(labels, sure, size=size, truth=truth, classes=4)
        assert score.counts.tolist() == [[64] * 4, [0] * 4, [0] * 4]
        assert score.signals[0] == 1.0


def test_without_truth_there_are_no_counts_but_a_mask() -> None:
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    one = score_frame(labels, labels, size=(4, 4), truth=None, classes=4)
    assert not one.counts.any()
    assert (
        one.mask_crc32
        != score_frame(labels, labels, size=(8, 8), truth=None, classes=4).mask_crc32
    )


def test_truth_of_another_aspect_is_refused() -> None:
    check_truth_size(np.zeros((1024, 2048), np.uint8), (512, 1024))
    check_truth_size(np.zeros((360, 641), np.uint8), (360, 640))
    with pytest.raises(EvaluationError, match="truth of 8 x 4 does not fit an image of 4 x 4"):
        check_truth_size(np.zeros((4, 8), np.uint8), (4, 4))
