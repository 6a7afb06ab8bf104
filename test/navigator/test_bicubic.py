"""Bicubic resampling against Pillow, which CLIP was trained with."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semla_ros.navigator.bicubic import Window, resized_window

SIZES = [(480, 640), (720, 1280), (376, 672), (100, 90), (37, 224), (224, 224), (1, 1), (3, 500)]


def pillow(rgb, height, width):
    """Resize in two calls: across first, as Pillow always did before 13 (which may turn it)."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    across = image.fromarray(rgb).resize((width, len(rgb)), image.Resampling.BICUBIC)
    return np.asarray(across.resize((width, height), image.Resampling.BICUBIC))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_window_is_pillows_crop(height, width):
    rgb, shortest = noise(height, width), min(height, width)
    tall, wide = height * 64 // shortest, width * 64 // shortest
    top, left = (tall - 64) // 2, (wide - 64) // 2
    reference = pillow(rgb, tall, wide)[top : top + 64, left : left + 64]
    got = resized_window(rgb, rows=Window(tall, top, 64), columns=Window(wide, left, 64))
    difference = np.abs(got.astype(int) - reference)
    assert got.dtype == np.uint8
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    tall=st.integers(1, 90),
    wide=st.integers(1, 90),
)
def test_any_size_to_any_size(height, width, tall, wide):
    rgb = noise(height, width, seed=height * 100 + width)
    got = resized_window(rgb, rows=Window(tall, 0, tall), columns=Window(wide, 0, wide))
    assert got.shape == (tall, wide, 3)
    difference = np.abs(got.astype(int) - pillow(rgb, tall, wide))
    assert difference.max() <= 2, "one level in each pass"
    assert (difference > 0).mean() <= max(0.05, 3 / difference.size)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_flat_image_stays_flat(value):
    rgb = np.full((50, 77, 3), value, np.uint8)
    assert (resized_window(rgb, rows=Window(30, 3, 9), columns=Window(200, 5, 9)) == value).all()


def test_a_window_costs_no_more_than_itself():
    """One pixel high and very wide: the resized image would be 5 million pixels wide."""
    got = resized_window(
        noise(1, 5000), rows=Window(1000, 0, 8), columns=Window(5_000_000, 2_500_000, 8)
    )
    assert got.shape == (8, 8, 3)


def test_views_and_strides_do_not_matter():
    rgb = noise(40, 60)
    window = {"rows": Window(20, 0, 20), "columns": Window(30, 0, 30)}
    flipped = rgb[::-1, ::-1]
    np.testing.assert_array_equal(
        resized_window(flipped, **window), resized_window(flipped.copy(), **window)
    )
