"""Masks for planners: an unsupported class keeps its name and gets another id."""

import numpy as np
import pytest
from std_msgs.msg import Header

from semla_ros.core.answers import SUPPORT_LEVELS, SupportReading
from semla_ros.core.types import Vocabulary
from semla_ros.nodes.planner import planner_label_info, planner_labels


def vocabulary(count):
    names = tuple(f"class {i}" for i in range(count))
    return Vocabulary(names, np.zeros((count, 3), np.uint8))


def reading(level):
    return SupportReading(0.4, 0.4, "fog", 2.0, level, 1)


@pytest.mark.parametrize("level", [*SUPPORT_LEVELS, None])
@pytest.mark.parametrize(("count", "kind"), [(3, np.uint8), (127, np.uint8), (128, np.uint16)])
def test_every_pixel_means_its_class_and_whether_it_is_supported(level, count, kind):
    classes = vocabulary(count)
    labels = np.array([[0, count - 1], [1, classes.unlabeled_id]], np.uint8)
    support = None if level is None else reading(level)
    found = planner_labels(labels, classes, support)
    assert found.dtype == kind
    info = planner_label_info(Header(), classes)
    meaning = {c.class_id: c.class_name for c in info.class_map}
    assert len(meaning) == len(info.class_map) == 2 * count + 1
    suffix = "" if level == "OK" else " (unsupported)"
    expected = ["class 0", f"class {count - 1}", "class 1"]
    assert [meaning[int(v)] for v in found.ravel()[:3]] == [e + suffix for e in expected]
    assert meaning[int(found[1, 1])] == "unlabeled"


def test_the_longest_class_list_of_a_mono16_mask_fits():
    classes = vocabulary(300)
    labels = np.array([[0, 299, 65535]], np.uint16)
    assert planner_labels(labels, classes, None).tolist() == [[300, 599, 65535]]
