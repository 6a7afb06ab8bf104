"""What a prepared set is held against, and where the line is drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.core.types import LoraAdapter, LoraLayer
from semla_ros.engine.proof import (
    MAX_CHANGE,
    TAKEN_OVER,
    Witness,
    change_norm,
    golden_image,
    judged,
    overgrown,
    shares_of,
    takeover,
)

NAMES = ("road", "sky", "car")


def logits_of(labels, classes=3):
    return np.where(np.arange(classes)[:, None, None] == labels, 4.0, -4.0).astype(np.float32)


def picture(share, *, rest=1):
    """Labels (20, 20) of which `share` is class 0, the others `rest`."""
    labels = np.full(400, rest, np.uint8)
    labels[: round(400 * share)] = 0
    return labels.reshape(20, 20)


def witness(share):
    return Witness(np.zeros((8, 8, 3), np.uint8), picture(share), NAMES)


@pytest.mark.parametrize(
    ("before", "after", "taken"),
    [(0.31, 1.0, 0), (0.5, TAKEN_OVER, 0), (0.5, 0.89, None), (0.75, 1.0, None), (0.7, 1.0, 0)],
)
def test_a_class_takes_over_where_its_share_is_large_and_has_leapt(before, after, taken):
    shares = [shares_of(picture(share), 3) for share in (before, after)]
    assert takeover(*shares) == taken


def test_a_picture_of_one_class_tells_nothing_about_another_one():
    white, black = shares_of(picture(1.0), 3), shares_of(picture(0.0), 3)
    assert takeover(white, black) is None
    assert not judged(witness(0.0), logits_of(picture(1.0)), NAMES).clear
    assert judged(witness(0.5), logits_of(picture(0.6)), NAMES).clear


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=9), st.randoms())
def test_nothing_new_is_never_a_takeover(weights, random):
    shares = np.array(weights) / sum(weights)
    assert takeover(shares, shares) is None
    order = list(range(len(shares)))
    random.shuffle(order)
    assert takeover(shares, shares[order]) is None  # no more of one class than before


def test_a_collapse_is_told_with_class_and_shares():
    verdict = judged(witness(0.31), logits_of(picture(1.0)), NAMES)
    assert verdict.collapse == "makes 100 % of the picture road where 31 % was before"
    assert verdict.changed == pytest.approx(0.69)


def test_a_changed_mask_without_a_takeover_is_measured_and_accepted():
    verdict = judged(witness(0.25), logits_of(picture(0.25, rest=2)), NAMES)
    assert (verdict.collapse, verdict.changed) == ("", 0.75)


def test_other_classes_do_not_compare_but_must_be_finite():
    verdict = judged(witness(0.1), logits_of(picture(1.0)), ("a", "b", "c"))
    assert (verdict.collapse, verdict.changed) == ("", 0.0)
    holed = logits_of(picture(0.5))
    holed[2, 3, 4] = np.nan
    for names in (NAMES, ("a", "b", "c")):
        assert "not finite" in judged(witness(0.5), holed, names).collapse


def test_a_mask_of_another_size_is_the_same_picture():
    large = np.repeat(np.repeat(picture(0.4), 5, 0), 5, 1)
    seen = Witness(np.zeros((8, 8, 3), np.uint8), large, NAMES)
    assert judged(seen, logits_of(picture(0.4)), NAMES).changed < 0.05


@given(st.integers(1, 6), st.floats(-4, 4), st.integers(0, 2**16))
def test_the_norm_of_a_change_is_that_of_the_product(rank, scaling, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rank, 7)).astype(np.float32)
    b = rng.standard_normal((5, rank)).astype(np.float32)
    expected = np.linalg.norm(scaling * (b.astype(np.float64) @ a))
    assert change_norm(LoraLayer(a, b, scaling)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def grown(factor):
    """An adapter that changes its second layer by `factor` times W0."""
    ones = np.ones((1, 4), np.float32)
    layers = {
        "calm": LoraLayer(ones, ones.T.copy(), 0.1),
        "wild": LoraLayer(ones, ones.T.copy(), factor),
    }
    return LoraAdapter("fog", layers)


def test_a_layer_that_is_drowned_by_its_change_is_named():
    base = lambda _: np.ones((4, 4), np.float32)  # noqa: E731
    assert overgrown(grown(MAX_CHANGE), base, {}) == ""
    text = overgrown(grown(-113.0), base, {})
    assert text.startswith("changes wild by 113 times its own weights, where 3 ")


def test_weights_of_zero_are_nothing_to_compare_with():
    assert overgrown(grown(1e6), lambda _: np.zeros((4, 4), np.float32), {}) == ""


def test_the_golden_image_is_the_same_everywhere():
    for size in (7, 128):
        image = golden_image((size, size))
        assert image.shape == (size, size, 3)
        np.testing.assert_array_equal(image, golden_image((size, size)))
    assert len(np.unique(golden_image((128, 128)).reshape(-1, 3), axis=0)) > 200
