"""Numbers against brute force and hand-worked cases; laws of the means."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semla_ros.core.errors import EvaluationError
from semla_ros.data.metrics import (
    arithmetic_mean,
    class_iou,
    frame_counts,
    harmonic_mean,
    mean_iou,
    percentiles,
)


def labels(seed, classes, shape=(13, 17), extra=()):
    values = [*range(classes), *extra]
    rng = np.random.default_rng(seed)
    return rng.choice(np.array(values, dtype=np.uint8), size=shape)


def brute_iou(truth, predicted, classes, ignore):
    """IoU of each class by sets of pixels."""
    ious = []
    scored = [p for p in np.ndindex(*truth.shape) if truth[p] != ignore]
    for c in range(classes):
        true = {p for p in scored if truth[p] == c}
        said = {p for p in scored if predicted[p] == c}
        ious.append(len(true & said) / len(true | said) if true else math.nan)
    return np.array(ious)


@pytest.mark.parametrize("classes", [1, 2, 7, 150, 254, 255, 300])
def test_iou_equals_brute_force(classes):
    kind = np.uint8 if classes < 256 else np.uint16
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes + 1, (13, 17)).astype(kind)
    predicted = rng.integers(0, classes, (13, 17)).astype(kind)
    predicted[:3] = np.iinfo(kind).max
    counts = frame_counts(truth, predicted, classes=classes)
    expected = brute_iou(truth, predicted, classes, classes)
    np.testing.assert_allclose(class_iou(counts), expected)
    assert mean_iou(counts) == pytest.approx(np.nanmean(expected))
    assert counts.dtype == np.int64
    assert counts[0].sum() + counts[2].sum() == (truth != classes).sum()


def test_hand_worked_case():
    truth = np.array([[0, 0, 1, 1, 3]], np.uint8)
    predicted = np.array([[0, 1, 1, 2, 0]], np.uint8)
    counts = frame_counts(truth, predicted, classes=3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 1], [1, 1, 0]]
    np.testing.assert_allclose(class_iou(counts), [1 / 2, 1 / 3, math.nan])
    assert mean_iou(counts) == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_an_unlabelled_prediction_is_a_miss_not_a_hole():
    truth = np.zeros((1, 4), np.uint8)
    predicted = np.array([[0, 0, 255, 255]], np.uint8)
    assert mean_iou(frame_counts(truth, predicted, classes=2)) == pytest.approx(0.5)


def test_counts_of_a_data_set_are_the_sum_over_its_images():
    pairs = [(labels(i, 4), labels(i + 9, 4)) for i in range(5)]
    summed = sum(frame_counts(*pair, classes=4) for pair in pairs)
    joined = [np.concatenate([p[k].ravel() for p in pairs])[None] for k in (0, 1)]
    np.testing.assert_array_equal(summed, frame_counts(*joined, classes=4))


def test_both_ways_of_counting_agree():
    truth, predicted = labels(1, 10), labels(2, 9, extra=(9,))
    one, other = (frame_counts(t, predicted, classes=9) for t in (truth, truth.astype(np.uint16)))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("truth", "predicted", "classes", "message"),
    [
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 2, "one size"),
        (np.full((2, 2), 9, np.uint8), np.zeros((2, 2), np.uint8), 2, r"got \[9\]"),
        (np.array([[0, 1, 3]]), np.zeros((1, 3), np.uint8), 2, r"got \[3\]"),
        (np.array([[0, 1, -1]]), np.zeros((1, 3), np.uint8), 2, r"got \[-1\]"),
        (np.zeros((2, 2)), np.zeros((2, 2), np.uint8), 2, "integer type"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 0, "at least one class"),
    ],
)
def test_bad_labels_are_refused(truth, predicted, classes, message):
    with pytest.raises(EvaluationError, match=message):
        frame_counts(truth, predicted, classes=classes)


def test_an_id_outside_the_classes_is_no_class_whatever_its_sign():
    truth = np.array([[0, 0, 1, 1]])
    counts = frame_counts(truth, np.array([[2, -1, 1, -7]]), classes=2)
    assert counts.tolist() == [[0, 1], [0, 0], [2, 1]]


def test_nothing_scored_has_no_iou():
    counts = np.zeros((2, 3, 4), np.int64)
    assert np.isnan(class_iou(counts)).all()
    assert np.isnan(mean_iou(counts)).all()


def test_a_class_that_is_only_predicted_does_not_count():
    counts = np.array([[4, 0], [0, 2], [2, 0]])
    assert class_iou(counts)[0] == pytest.approx(4 / 6)
    assert np.isnan(class_iou(counts)[1])
    assert mean_iou(counts) == pytest.approx(4 / 6)


positive = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20)


@settings(max_examples=50, deadline=None)
@given(positive)
def test_means_lie_between_the_extremes_and_in_order(values):
    harmonic, arithmetic = harmonic_mean(values), arithmetic_mean(values)
    slack = 1e-9 * max(values)
    assert min(values) - slack <= harmonic <= arithmetic + slack <= max(values) + 2 * slack


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(1, 9))
def test_means_of_equal_values(value, count):
    assert harmonic_mean([value] * count) == pytest.approx(value)
    assert arithmetic_mean([value] * count) == pytest.approx(value)


def test_semla_zero_shot_row():
    """Source: SemLA (CVPR 2025), supplementary: two domains by hand."""
    assert harmonic_mean([40.0, 60.0]) == pytest.approx(48.0)
    assert harmonic_mean([40.0, 0.0]) == 0.0


@pytest.mark.parametrize("values", [[], [1.0, -1.0], [math.nan], [math.inf, 1.0]])
def test_means_refuse_what_has_no_mean(values):
    for mean in (harmonic_mean, arithmetic_mean):
        with pytest.raises(EvaluationError, match="not scored"):
            mean(values)


def test_percentiles():
    got = percentiles(range(101))
    assert got == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "mean": 50.0, "max": 100.0}
    assert percentiles([]) == {}
