"""The node drives with a network that reads no text: its masks, its adapters, its refusal."""

import numpy as np
import pytest
from closed_bundle import CLASSES, SIZE, closed_bundle
from semla_ros.srv import SelectAdapters, SetVocabulary
from sensor_msgs.msg import Image
from vision_msgs.msg import LabelInfo


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    return closed_bundle(tmp_path_factory.mktemp("closed") / "bundle")


def test_the_node_drives_swaps_and_keeps_its_classes(robot, closed, make_image, scene):
    with robot(bundle=closed, engine="onnx", output_size="model") as it:
        infos = it.listen("label_info", LabelInfo, latched=True)
        masks = it.listen("mask", Image)
        it.send(make_image(scene), lambda: masks)
        assert (masks[-1].height, masks[-1].width) == SIZE
        mode = SelectAdapters.Request.PIN
        request = SelectAdapters.Request(mode=mode, names=["fog"], weights=[1.0])
        answer = it.call(SelectAdapters, "select_adapters", request)
        assert (answer.success, answer.message) == (True, "fog=1")
        it.send(make_image(scene, stamp=(900, 0)), lambda: masks[-1].header.stamp.sec == 900)
        assert not np.array_equal(masks[-1].data, masks[0].data)
        names = ["sand", "water"]
        refused = it.call(
            SetVocabulary, "set_vocabulary", SetVocabulary.Request(class_names=names)
        )
        assert not refused.success
        assert "closed class list, the 4 classes it was trained for" in refused.message
        own = SetVocabulary.Request(class_names=list(CLASSES))
        assert it.call(SetVocabulary, "set_vocabulary", own).success
    assert [c.class_name for c in infos[-1].class_map] == [*CLASSES, "unlabeled"]
