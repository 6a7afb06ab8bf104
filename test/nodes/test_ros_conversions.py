"""Which images go to cv_bridge, where it is installed."""

import numpy as np
import pytest
from std_msgs.msg import Header

from semla_ros.nodes import conversions


def padded(padding, *, width=642, channels=3, encoding="rgb8"):
    """Return an image whose rows end in `padding` bytes, and its pixels."""
    shape = (4, width, channels) if channels > 1 else (4, width)
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    rows = np.pad(pixels.reshape(4, -1), ((0, 0), (0, padding)))
    message = conversions.image_message(Header(), rows, encoding)
    message.width = width
    return message, pixels


@pytest.mark.parametrize("padding", [1, 2, 3, 6])
def test_rows_with_padding_are_not_for_cv_bridge(monkeypatch, padding):
    """Its Python counts whole pixels in a step: 1928 bytes of 642 pixels shift every row."""
    refuse = pytest.fail
    monkeypatch.setattr(conversions, "_cv_bridge", lambda: refuse)
    message, pixels = padded(padding)
    frame = conversions.frame_from_image(message, max_pixels=10_000)
    np.testing.assert_array_equal(frame.rgb, pixels)


@pytest.mark.parametrize(
    ("encoding", "channels"),
    [("rgb8", 3), ("bgr8", 3), ("rgba8", 4), ("bgra8", 4), ("mono8", 1), ("bayer_rggb8", 1)],
)
def test_rows_without_padding_are(encoding, channels):
    assert conversions.suits_cv_bridge(padded(0, channels=channels, encoding=encoding)[0])
    assert not conversions.suits_cv_bridge(
        padded(channels, channels=channels, encoding=encoding)[0]
    )


def test_what_cv_bridge_scales_otherwise_is_not():
    assert not conversions.suits_cv_bridge(padded(0, channels=2, encoding="mono16")[0])
