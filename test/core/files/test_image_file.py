"""Image files: what is read, and what is refused with the file's name."""

import cv2
import numpy as np
import pytest

from semla_ros.core.errors import FrameError
from semla_ros.core.files.image_file import read_image


def test_a_png_is_read_as_rgb(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), rgb[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", max_pixels=35), rgb)


@pytest.mark.parametrize(
    ("content", "max_pixels", "message"),
    [(None, 99, "cannot be read"), (b"torn", 99, "JPEG, PNG or WebP"), ("picture", 34, "34")],
)
def test_what_is_no_usable_image_is_named(tmp_path, content, max_pixels, message):
    path = tmp_path / "a.png"
    if content == "picture":
        cv2.imwrite(str(path), np.zeros((5, 7, 3), np.uint8))
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(FrameError, match=rf"a\.png.*{message}"):
        read_image(path, max_pixels=max_pixels)


def test_twelve_bits_in_sixteen_are_scaled_where_it_is_said(tmp_path):
    path = tmp_path / "a.png"
    full = np.full((4, 5, 3), 4095, np.uint16)
    path.write_bytes(cv2.imencode(".png", full)[1].tobytes())
    assert read_image(path, max_pixels=100).max() == 16
    assert (read_image(path, max_pixels=100, significant_bits=12) == 255).all()
