"""A mask for planners: each class twice, with and without the library's support.

A costmap layer reads class ids and knows nothing of support. Where the support level is not OK,
every class is published under a second id, so that a planner may treat an unsupported road with
caution and still see an unsupported car.
"""

from __future__ import annotations

import numpy as np
from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo, VisionClass

from semla_ros.core.answers import SupportReading
from semla_ros.core.types import UNSUPPORTED, LabelArray, Vocabulary
from semla_ros.nodes.conversions import label_info_message

MAX_MONO8_CLASSES = 127
"""Longest class list whose planner mask is mono8, which costmap layers want."""


def planner_labels(
    labels: LabelArray, vocabulary: Vocabulary, support: SupportReading | None
) -> LabelArray:
    """Return `labels` (H, W), every class id raised by T unless the support level is OK.

    T is the number of classes; unlabeled pixels get the reserved id of the result's type: uint8
    up to 127 classes, uint16 above. Without a support reading nothing is supported.
    """
    classes = len(vocabulary.names)
    kind = np.uint8 if classes <= MAX_MONO8_CLASSES else np.uint16
    supported = support is not None and support.level == "OK"
    table = np.full(vocabulary.unlabeled_id + 1, np.iinfo(kind).max, kind)
    table[:classes] = np.arange(classes) + (0 if supported else classes)
    return np.take(table, labels)


def planner_label_info(header: Header, vocabulary: Vocabulary) -> LabelInfo:
    """Return the meaning of every value that a planner mask can hold."""
    message = label_info_message(header, vocabulary)
    classes = len(vocabulary.names)
    *named, unlabeled = message.class_map
    doubled = [
        VisionClass(class_id=classes + i, class_name=name + UNSUPPORTED)
        for i, name in enumerate(vocabulary.names)
    ]
    unlabeled.class_id = 255 if classes <= MAX_MONO8_CLASSES else 65535
    message.class_map = [*named, *doubled, unlabeled]
    return message
