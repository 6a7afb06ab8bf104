from __future__ import annotations

import numpy as np
import pytest

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.metrics import class_iou, confusion_counts, mean_iou
from semla_ros.evaluation.study.scores import iou_of, miou_of
from semla_ros.evaluation.study.scoring import check_truth_size, frame_counts, score_frame


@pytest.mark.parametrize("classes", [1, 4, 9, 150, 254, 255, 300])
def test_counts_are_those_of_the_confusion_matrix(classes: int) -> None:
    rng = np.random.default_rng(classes)
    kind = np.uint8 if classes < 256 else np.uint16
    truth = rng.integers(0, classes + 1, (40, 50)).astype(kind)
    predicted = rng.integers(0, classes, (40, 50)).astype(kind)
    predicted[:3] = np.iinfo(kind).max
    counts = frame_counts(truth, predicted, classes=classes)
    matrix = confusion_counts(truth, predicted, classes=classes, ignore=classes)
    hits = np.diagonal(matrix)
    assert counts.dtype == np.int64
    assert np.array_equal(counts[0], hits)
    assert np.array_equal(counts[1], matrix[:, :classes].sum(axis=0) - hits)
    assert np.array_equal(counts[2], matrix.sum(axis=1) - hits)
    np.testing.assert_allclose(iou_of(counts), class_iou(matrix), equal_nan=True)
    assert miou_of(counts) == pytest.approx(mean_iou(matrix))


def test_both_ways_of_counting_agree() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 10, (90, 70), dtype=np.uint8)
    predicted = rng.integers(0, 9, (90, 70), dtype=np.uint8)
    predicted[5:9] = 9
    one, other = (frame_counts(t, predicted, classes=9) for t in (truth, truth.astype(np.uint16)))
    assert np.array_equal(one, other)


def test_nothing_scored_has_no_iou() -> None:
    counts = np.zeros((2, 3, 4), np.int64)
    assert np.isnan(iou_of(counts)).all()
    assert np.isnan(miou_of(counts)).all()


def test_a_class_that_is_only_predicted_does_not_count() -> None:
    counts = np.array([[4, 0], [0, 2], [2, 0]])
    assert iou_of(counts)[0] == pytest.approx(4 / 6)
    assert np.isnan(iou_of(counts)[1])
    assert miou_of(counts) == pytest.approx(4 / 6)


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
