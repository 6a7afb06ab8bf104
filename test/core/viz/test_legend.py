import cv2
import numpy as np
import pytest

from semla_ros.core.viz.legend import legend
from semla_ros.core.viz.palette import vocabulary_of


@pytest.mark.parametrize("count", [1, 19, 30, 31, 171])
def test_every_class_has_its_swatch_and_the_image_can_be_a_png(count):
    vocabulary = vocabulary_of([f"thing {i}, alias" for i in range(count)])
    image = legend(vocabulary)
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    present = {tuple(color) for color in image.reshape(-1, 3).tolist()}
    assert {tuple(color) for color in vocabulary.colors.tolist()} <= present
    assert cv2.imencode(".png", image)[0]


def test_names_the_font_cannot_write_do_not_fail():
    assert legend(vocabulary_of(["Straße", "道"])).size
