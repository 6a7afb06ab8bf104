"""An adapter that turns every pixel into road, given to the live node."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from semla_ros.msg import AdapterSwap
from semla_ros.srv import SelectAdapters
from sensor_msgs.msg import Image

from semla_ros.library.seal import SEAL_FILE, TENSOR_FILE

DEMO = Path(__file__).resolve().parents[2] / "models" / "demo"
FIRST_VALUE, VALUES, CONSTANT = 34_944, 3_584, 100.0


@pytest.fixture
def spoilt(tmp_path):
    """The demo bundle with 14 kB of fog-day set to a constant, as if it had never been sealed."""
    if not (DEMO / "bundle.yaml").is_file():
        pytest.skip("models/demo is missing")
    shutil.copytree(DEMO, tmp_path / "demo")
    folder = tmp_path / "demo" / "library" / "fog-day"
    content = bytearray((folder / TENSOR_FILE).read_bytes())
    first = 8 + int.from_bytes(content[:8], "little") + 4 * FIRST_VALUE
    content[first : first + 4 * VALUES] = np.full(VALUES, CONSTANT, np.float32).tobytes()
    (folder / TENSOR_FILE).write_bytes(content)
    (folder / SEAL_FILE).unlink()
    return tmp_path / "demo"


def pin(robot, name):
    request = SelectAdapters.Request(mode=SelectAdapters.Request.PIN, names=[name])
    return robot.call(SelectAdapters, "select_adapters", request)


def test_a_pin_that_makes_every_pixel_road_is_refused(robot, spoilt, make_image, scene):
    with robot(bundle=spoilt, engine="onnx", swap_policy="never") as it:
        masks, swaps = it.listen("mask", Image), it.listen("swap", AdapterSwap)
        it.send(make_image(scene), lambda: masks)
        before = bytes(masks[-1].data)
        answer = pin(it, "fog-day")
        assert not answer.success
        assert re.match(
            r"mix fog-day=1 makes 9\d % of the picture road where 3\d % was", answer.message
        )
        assert "'fog-day' changes " in answer.message
        heard = len(masks)
        it.send(make_image(scene), lambda: len(masks) > heard)
        assert bytes(masks[-1].data) == before
        assert [s.committed for s in swaps] == [False]
        assert not pin(it, "fog-day").success
        assert pin(it, "rain-day").success
        _, facts = it.diagnosed("adapters", lambda _, f: f["mix"] == "rain-day=1", "the mix")
        assert facts["unsealed"] == "1 fog-day"


def test_damage_after_sealing_is_refused_by_the_seal(robot, spoilt):
    shutil.copy(DEMO / "library" / "fog-day" / SEAL_FILE, spoilt / "library" / "fog-day")
    with robot(bundle=spoilt, engine="onnx") as it:
        answer = pin(it, "fog-day")
        assert not answer.success
        status, facts = it.diagnosed("adapters", lambda s, _: s.level == b"\x01", "WARN")
        assert f"fog-day/{SEAL_FILE}: expected sha256" in status.message
        assert facts["unsealed"] == "0"


def test_unsealed_adapters_can_be_refused(robot, spoilt):
    with robot(bundle=spoilt, engine="onnx", unsealed_adapters="refuse") as it:
        status, _ = it.diagnosed("adapters", lambda s, _: s.level == b"\x01", "WARN")
        assert "unsealed_adapters is 'refuse'" in status.message
        assert not it.set_parameter("unsealed_adapters", "accept")[0]
