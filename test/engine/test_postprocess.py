import cv2
import numpy as np
import pytest

from semla_ros.core.errors import EngineError
from semla_ros.engine import strips
from semla_ros.engine.postprocess import (
    labels_from_logits,
    labels_from_scores,
    restore,
    restore_confidence,
)


@pytest.mark.parametrize(("classes", "side", "size"), [(19, 24, 96), (1, 8, 32), (5, 32, 32)])
def test_labels_are_torchs_argmax_of_resized_sigmoids(classes, side, size):
    torch = pytest.importorskip("torch", reason="torch is the reference here")
    logits = np.random.default_rng(1).normal(0, 3, (classes, side, side)).astype(np.float32)
    got = labels_from_logits(logits, size)
    maps = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None].sigmoid(), size=(size, size), mode="bilinear"
    )[0]
    top = maps.sort(dim=0, descending=True)
    clear = np.ones((size, size), bool)
    if classes > 1:
        clear = (top.values[0] - top.values[1]).numpy() > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(got.labels[clear], top.indices[0].numpy()[clear])
    probability = maps.amax(dim=0).numpy()
    assert np.abs(got.confidence - probability * 255).max() <= 0.51


SIZES = [
    ((24, 24), (96, 96)),
    ((96, 96), (1080, 1920)),
    ((96, 96), (720, 1280)),
    ((13, 17), (900, 1217)),  # the last strip would be one column wide
    ((48, 64), (720, 1281)),
    ((1, 9), (400, 900)),
    ((9, 1), (400, 900)),
    ((40, 50), (20, 25)),  # OpenCV's halving has code of its own
    ((40, 50), (20, 900)),
    ((32, 32), (32, 32)),
]


@pytest.mark.parametrize("kind", ["noise", "regions", "ties"])
@pytest.mark.parametrize(("plane", "size"), SIZES)
@pytest.mark.parametrize("classes", [1, 8, 19])
def test_strips_and_skipped_classes_do_not_change_a_bit(classes, plane, size, kind, monkeypatch):
    monkeypatch.setattr(strips, "_LARGE_STACK", 0)
    scores = scores_of(kind, (classes, *plane))
    got = labels_from_scores(scores, size)
    whole = np.stack(
        [cv2.resize(each, size[::-1], interpolation=cv2.INTER_LINEAR) for each in scores]
    )
    np.testing.assert_array_equal(got.labels, whole.argmax(axis=0))
    np.testing.assert_array_equal(got.confidence, np.rint(whole.max(axis=0) * np.float32(255)))


def scores_of(kind: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Return scores in 0..1: independent, of a few clear regions, or of three values only."""
    scores = np.random.default_rng(5).random(shape, np.float32)
    if kind == "ties":
        return np.round(scores * 2) / np.float32(2)
    if kind == "regions":
        smooth = np.stack([cv2.GaussianBlur(each, (0, 0), 5) for each in scores])
        return np.clip(0.5 + 20 * (smooth - 0.5), 0, 1).astype(np.float32)
    return scores


def test_the_sigmoid_comes_before_resizing():
    # Half-way between the columns: sigmoids 0.99995 and 0.5 average 0.75, logits 10 and 0 give 5.
    logits = np.array([[[10.0, 0.0]], [[3.0, 3.0]]], np.float32)
    got = labels_from_logits(logits, (1, 3))
    assert got.labels.tolist() == [[0, 1, 1]]


def test_labels_of_any_height_and_width():
    logits = np.random.default_rng(4).normal(size=(3, 8, 8)).astype(np.float32)
    assert labels_from_logits(logits, (12, 20)).labels.shape == (12, 20)


def test_the_first_of_equal_classes_wins():
    logits = np.zeros((4, 8, 8), np.float32)
    assert not labels_from_logits(logits, 8).labels.any()
    assert (labels_from_logits(logits, 8).confidence == 128).all()


@pytest.mark.parametrize(
    ("classes", "dtype"), [(254, np.uint8), (255, np.uint16), (400, np.uint16)]
)
def test_labels_are_as_wide_as_the_class_list_needs(classes, dtype):
    logits = np.zeros((classes, 4, 4), np.float32)
    logits[-1] = 1
    got = labels_from_logits(logits, 8)
    assert got.labels.dtype == dtype
    assert (got.labels == classes - 1).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0), (2, 3, 3)])
def test_one_bad_logit_anywhere_is_an_error(value, place):
    logits = np.zeros((3, 4, 4), np.float32)
    logits[place] = value
    with pytest.raises(EngineError, match="not finite"):
        labels_from_logits(logits, 16)


def test_the_logits_themselves_are_not_written_to():
    logits = np.random.default_rng(2).normal(size=(3, 8, 8)).astype(np.float32)
    copy = logits.copy()
    labels_from_logits(logits, 8)
    np.testing.assert_array_equal(logits, copy)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(48, 64), (17, 5), (32, 32), (31, 99), (1, 1)])
def test_restored_labels_are_torchs_nearest_exact(dtype, size):
    torch = pytest.importorskip("torch", reason="torch is the reference here")
    labels = np.random.default_rng(3).integers(0, 250, (32, 32)).astype(dtype)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(labels.astype(np.float32))[None, None], size=size, mode="nearest-exact"
    )[0, 0].numpy()
    got = restore(labels, size)
    assert got.dtype == dtype
    rows, columns = (away_from_borders(n, 32) for n in size)
    assert rows.sum() * columns.sum() >= 0.4 * got.size or size == (1, 1)
    np.testing.assert_array_equal(got[rows][:, columns], expected[rows][:, columns])
    assert set(np.unique(got)) <= set(np.unique(labels))


def away_from_borders(count: int, source: int) -> np.ndarray:
    """Return which of `count` pixel centres do not fall on a border of two source pixels."""
    return ((2 * np.arange(count) + 1) * source) % (2 * count) != 0


def test_restored_confidence_is_smooth_and_keeps_constants():
    assert (restore_confidence(np.full((8, 8), 77, np.uint8), (30, 20)) == 77).all()
    ramp = np.tile(np.arange(0, 160, 20, dtype=np.uint8), (8, 1))
    assert (np.diff(restore_confidence(ramp, (8, 64)).astype(int), axis=1) >= 0).all()


def maps_of(logits, size):
    torch = pytest.importorskip("torch", reason="torch is the reference here")
    return torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], size=size, mode="bilinear"
    )[0]


def test_softmax_compares_enlarged_logits_and_never_promises_more_than_they_do():
    logits = np.random.default_rng(1).normal(0, 3, (19, 24, 32)).astype(np.float32)
    got = labels_from_logits(logits, (96, 128), activation="softmax")
    enlarged = maps_of(logits, (96, 128))
    top = enlarged.sort(dim=0, descending=True)
    clear = (top.values[0] - top.values[1]).numpy() > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(got.labels[clear], top.indices[0].numpy()[clear])
    logarithms = logits - np.log(np.exp(logits).sum(0, keepdims=True))
    expected = 255 * maps_of(logarithms, (96, 128)).amax(0).exp().numpy()
    assert np.abs(got.confidence - expected).max() <= 0.51
    assert (got.confidence <= 255 * enlarged.softmax(0).amax(0).numpy() + 0.51).all()


def test_sums_of_probabilities_are_compared_whole_and_end_at_certainty():
    scores = np.random.default_rng(2).uniform(0, 3, (5, 12, 12)).astype(np.float32)
    got = labels_from_logits(scores, (24, 48), activation="scores")
    enlarged = maps_of(scores, (24, 48)).numpy()
    top = np.sort(enlarged, axis=0)
    clear = top[-1] - top[-2] > 1e-4
    np.testing.assert_array_equal(got.labels[clear], enlarged.argmax(0)[clear])
    assert np.abs(got.confidence - 255 * enlarged.max(0).clip(0, 1)).max() <= 0.51


@pytest.mark.parametrize("activation", ["softmax", "scores"])
def test_no_activation_makes_a_mask_of_what_is_not_finite(activation):
    logits = np.full((3, 4, 4), np.nan, np.float32)
    with pytest.raises(EngineError, match="not finite"):
        labels_from_logits(logits, 8, activation=activation)


def test_logits_of_any_size_have_a_softmax():
    logits = np.array([[[1e30]], [[-1e30]], [[0.0]]], np.float32)
    got = labels_from_logits(logits, (4, 4), activation="softmax")
    assert (got.labels == 0).all()
    assert (got.confidence == 255).all()
