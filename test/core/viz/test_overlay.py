import numpy as np
import pytest

from semla_ros.core.errors import FrameError
from semla_ros.core.viz.overlay import colorize, lut_of, overlay
from semla_ros.core.viz.palette import vocabulary_of


def test_every_id_gets_its_colour_and_unlabeled_is_black():
    vocabulary = vocabulary_of(["road", "sky", "car"])
    labels = np.array([[0, 1, 2], [255, 7, 0]], np.uint8)
    colors = colorize(labels, lut_of(vocabulary))
    np.testing.assert_array_equal(colors[0], vocabulary.colors)
    assert not colors[1, :2].any()


@pytest.mark.parametrize("view", [np.s_[:], np.s_[::-1, ::-2], np.s_[3:4, 5:6]])
def test_colours_are_those_of_the_table_whatever_the_strides(view):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 256, (20, 30)).astype(np.uint8)[view]
    lut = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    np.testing.assert_array_equal(colorize(labels, lut), lut[labels])


def test_wide_labels_have_a_table_as_wide():
    vocabulary = vocabulary_of([f"thing {i}" for i in range(300)])
    lut = lut_of(vocabulary)
    assert lut.shape == (65536, 3)
    labels = np.array([[299, 65535]], np.uint16)
    np.testing.assert_array_equal(colorize(labels, lut)[0], [vocabulary.colors[299], (0, 0, 0)])


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_overlay_is_the_weighted_mean(alpha):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, (20, 30)).astype(np.uint8)
    lut = lut_of(vocabulary_of(["road", "sky", "car"]))
    kept = rgb.copy()
    got = overlay(rgb, labels, lut, alpha=alpha)
    expected = (1 - alpha) * rgb + alpha * lut[labels].astype(float)
    assert np.abs(got - expected).max() <= 0.51
    np.testing.assert_array_equal(rgb, kept)


def test_another_size_is_refused():
    lut = lut_of(vocabulary_of(["road"]))
    with pytest.raises(FrameError, match="labels of size"):
        overlay(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8), lut, alpha=0.5)
