"""The signals of a mask: by hand, finite, of the whole image, blind to the order of classes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.core.mask_signals import GRID, PRESENT, SIGNALS, mask_signals


def named(labels, confidence):
    return dict(zip(SIGNALS, mask_signals(labels, confidence), strict=True))


def test_by_hand():
    labels = np.array([[0, 0, 0, 3]], np.uint8)
    confidence = np.array([[255, 255, 255, 51]], np.uint8)
    found = named(labels, confidence)
    assert found["confidence"] == pytest.approx((3 + 0.2) / 4)
    assert found["class_confidence"] == pytest.approx((1 + 0.2) / 2), "each class weighs the same"
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found["class_entropy"] == pytest.approx(expected)
    assert found["classes"] == 2


def test_a_mask_of_one_class_has_no_entropy():
    found = named(np.full((8, 8), 7, np.uint16), np.zeros((8, 8), np.uint8))
    assert list(found.values()) == [0.0, 0.0, 0.0, 1.0]
    assert math.copysign(1, found["class_entropy"]) == 1, "no minus zero"


def test_specks_are_no_class_seen():
    labels = np.zeros((GRID, GRID), np.uint8)
    few = int(PRESENT * labels.size)
    labels.ravel()[:few] = 1
    sure = np.full(labels.shape, 255, np.uint8)
    assert named(labels, sure)["classes"] == 1
    labels.ravel()[: few + 1] = 1
    assert named(labels, sure)["classes"] == 2


def test_a_large_mask_tells_what_a_small_one_does():
    rng = np.random.default_rng(3)
    small = rng.integers(0, 5, (GRID, GRID)).astype(np.uint8)
    sure = rng.integers(0, 256, (GRID, GRID)).astype(np.uint8)
    large = np.kron(small, np.ones((5, 3), np.uint8))
    assert mask_signals(large, np.kron(sure, np.ones((5, 3), np.uint8))) == mask_signals(
        small, sure
    )


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    classes=st.integers(1, 600),
    seed=st.integers(0, 99),
)
def test_every_mask_has_finite_signals_that_ignore_the_names_of_classes(
    height, width, classes, seed
):
    rng = np.random.default_rng(seed)
    kind = np.uint8 if classes <= 256 else np.uint16
    labels = rng.integers(0, classes, (height, width)).astype(kind)
    sure = rng.integers(0, 256, (height, width)).astype(np.uint8)
    found = mask_signals(labels, sure)
    assert len(found) == len(SIGNALS)
    assert all(isinstance(v, float) and math.isfinite(v) for v in found)
    renamed = rng.permutation(classes).astype(kind)[labels]
    assert mask_signals(renamed, sure) == pytest.approx(found)
