"""Parameters, conversions, diagnostics and QoS texts, with the real message classes."""

import array
import math
from dataclasses import replace

import numpy as np
import pytest
from rcl_interfaces.msg import ParameterDescriptor
from semla_ros.msg import AdapterSwap, EngineState, SupportScore
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from semla_ros.core.answers import SupportReading, SwapEvent
from semla_ros.core.config import PARAMETERS, Config
from semla_ros.core.types import AdapterMix, DomainEstimate, Vocabulary
from semla_ros.engine.contract import BUILDING, READY, EngineStatus
from semla_ros.nodes import conversions, qos
from semla_ros.nodes.diagnostics import Snapshot, resident_bytes, statuses
from semla_ros.nodes.parameters import descriptor, unknown_overrides
from semla_ros.nodes.statistics import FrameStatistics, percentile
from semla_ros.nodes.stream import StreamReport
from semla_ros.nodes.worker import WorkerReport
from semla_ros.pipeline.clock import StampReport
from semla_ros.pipeline.health import PipelineHealth
from semla_ros.pipeline.hint import HintWatch
from semla_ros.processes.player import due_times, header_stamp_ns, with_stamp

MIX = AdapterMix(("fog", "base"), (0.75, 0.25))


@pytest.mark.parametrize("spec", PARAMETERS.values(), ids=PARAMETERS)
def test_every_parameter_is_described(spec):
    described = descriptor(spec)
    assert described.description.startswith(spec.doc)
    assert described.read_only == (spec.when == "at start")
    assert spec.unit in described.description
    for choice in spec.choices:
        assert choice in described.additional_constraints
    ranges = [*described.floating_point_range, *described.integer_range]
    if spec.minimum is not None:
        assert ranges[0].from_value == spec.minimum
    if spec.maximum is not None:
        assert ranges[0].to_value == spec.maximum
    assert isinstance(described, ParameterDescriptor)


def test_unknown_parameters_are_told_from_ros_own():
    names = ["temperature", "autostart", "use_sim_time"]
    assert unknown_overrides(names) == {}
    assert unknown_overrides(["top_kk"]) == {
        "top_kk": "unknown parameter 'top_kk'; did you mean 'top_k'?"
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rows_are_never_padded_and_data_is_an_array(dtype):
    labels = np.arange(7 * 11, dtype=dtype).reshape(7, 11)[:, ::-1]
    message = conversions.mask_message(Header(frame_id="x"), labels)
    assert isinstance(message.data, array.array)
    assert message.data.typecode == "B"
    assert message.encoding == ("mono8" if dtype is np.uint8 else "mono16")
    assert message.step == 11 * np.dtype(dtype).itemsize
    np.testing.assert_array_equal(np.frombuffer(message.data, dtype).reshape(7, 11), labels)


def test_times_survive_the_round_trip():
    for nanoseconds in (0, 1, 999_999_999, 1_700_000_000_123_456_789):
        assert conversions.stamp_ns(conversions.time_message(nanoseconds)) == nanoseconds


def test_label_info_lists_every_value():
    colors = np.zeros((300, 3), np.uint8)
    many = Vocabulary(tuple(f"c{i}" for i in range(300)), colors)
    few = Vocabulary(("a", "b"), colors[:2])
    for vocabulary, last in ((few, 255), (many, 65535)):
        message = conversions.label_info_message(Header(), vocabulary)
        ids = [c.class_id for c in message.class_map]
        assert ids == [*range(len(vocabulary.names)), last]
        assert message.class_map[-1].class_name == "unlabeled"


def test_numbers_of_any_type_become_message_fields():
    """The C side aborts the process on a wrong Python type, so serialize for real."""
    from rclpy.serialization import deserialize_message, serialize_message

    reading = SupportReading(np.float32(1.5), 2, "fog", np.float64(3.0), "LOW", 5)
    support = conversions.support_message(Header(), reading, MIX)
    again = deserialize_message(serialize_message(support), SupportScore)
    assert (again.score, again.smoothed_score, again.level) == (1.5, 2.0, SupportScore.LOW)
    assert math.isnan(again.expected_miou), "no calibration"
    promised = replace(reading, expected_miou=np.float64(0.5), miou_lower=0)
    support = conversions.support_message(Header(), promised, MIX)
    again = deserialize_message(serialize_message(support), SupportScore)
    assert (again.expected_miou, again.miou_lower) == (0.5, 0.0)
    event = SwapEvent(7, AdapterMix.base_only(), MIX, "domain", True, "", 1, 2, np.float32(3), 4)
    swap = deserialize_message(
        serialize_message(conversions.swap_message(Header(), event)), AdapterSwap
    )
    assert (swap.detection_s, swap.reason) == (pytest.approx(1e-3), AdapterSwap.DOMAIN)
    zeros = np.zeros(2)
    estimate = DomainEstimate(
        1, np.zeros(3, np.float32), np.zeros(3, np.float32), ("rain", "fog"), zeros + 2, zeros
    )
    message = conversions.mix_state_message(
        Header(),
        MIX,
        estimate,
        state=1,
        since_ns=3,
        generated=("fog", "snow"),
        hint=HintWatch(),
    )
    serialize_message(message)
    assert message.generated == ["fog"], "of the library's, those that serve"
    first, second = message.mix.adapters
    assert first.distance == 2.0
    assert math.isnan(second.distance)


def test_stale_says_nothing_about_support():
    reading = SupportReading.stale(observed_ns=4_000_000_001)
    message = conversions.support_message(Header(frame_id="cam"), reading, MIX)
    assert math.isnan(message.expected_miou)
    assert (message.level, message.score, message.smoothed_score) == (SupportScore.STALE, 0.0, 0.0)
    assert message.miou_lower == 0.0, "no image, no promise"
    assert (message.observed.sec, message.observed.nanosec) == (4, 1)


def test_cv_bridge_gives_the_same_image():
    cv_bridge = pytest.importorskip(
        "cv_bridge", reason="cv_bridge is missing: apt install ros-*-cv-bridge"
    )
    rng = np.random.default_rng(0)
    for encoding in sorted(conversions._BRIDGED):
        depth = np.uint16 if encoding.endswith("16") else np.uint8
        channels = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}.get(encoding, 1)
        shape = (8, 10) if channels == 1 else (8, 10, channels)
        pixels = rng.integers(0, np.iinfo(depth).max, shape).astype(depth)
        message = conversions.image_message(Header(), pixels, encoding)
        theirs = cv_bridge.CvBridge().imgmsg_to_cv2(message, desired_encoding="rgb8")
        ours = conversions.decode_image(message, max_pixels=1000)
        np.testing.assert_array_equal(ours, theirs, err_msg=encoding)


STREAM = StreamReport(topic="/camera", publishers=1)
MODEL = PipelineHealth(
    engine=EngineStatus("ready", "onnx"),
    precision="f32",
    engine_reason="auto: the first that works here; not openvino",
    mix="base=1",
    adapters=3,
)


def snapshot(*, stream=STREAM, model=MODEL, values=None):
    return Snapshot(
        node="/segmenter",
        state="active",
        problem="",
        ignored={},
        surroundings=(),
        config=Config(),
        stream=stream,
        model=model,
        values=values or FrameStatistics().values(),
    )


def stream(**changes):
    return replace(STREAM, **changes)


def model(**changes):
    return replace(MODEL, **changes)


def test_diagnostics_before_anything_came():
    parts = {s.name: s for s in statuses(snapshot())}
    assert set(parts) == {
        f"/segmenter: {p}"
        for p in ("node", "image", "inference", "adapters", "support", "capture")
    }
    assert parts["/segmenter: image"].level == b"\x01"
    assert "waiting for the first image on /camera" in parts["/segmenter: image"].message


def report(**changes):
    return replace(WorkerReport(10, 0, {}, 0, ""), **changes)


def values(**changes):
    return replace(FrameStatistics().values(), since_last_s=0.1, level="OK", **changes)


def told(part, **changes):
    (status,) = [s for s in statuses(snapshot(**changes)) if s.name.endswith(f": {part}")]
    return status.level[0], status.message


def test_a_network_that_hangs_is_not_a_camera_that_stalled():
    hangs = {"values": values(), "stream": stream(stale=True, worker=report(busy_s=4.0))}
    assert told("image", **hangs) == (0, "receiving")
    level, message = told("inference", **hangs)
    assert level == 2
    assert "one frame has been in the network for 4.0 s" in message
    silent = replace(values(), since_last_s=4.0)
    quiet = {"values": silent, "stream": stream(stale=True, worker=report())}
    assert told("image", **quiet)[0] == 2
    assert told("inference", **quiet)[0] == 0


def test_images_of_which_none_is_usable_are_told():
    level, message = told("image", values=values(), stream=stream(stale=True, worker=report()))
    assert level == 2
    assert message == "images arrive on /camera, none was usable for 1 s"


def test_a_navigator_that_hangs_or_fails_raises_the_level():
    hung = model(navigator_pending_s=12.0)
    assert told("support", values=values(), model=hung)[0] == 2
    assert "12.0 s" in told("support", values=values(), model=hung)[1]
    failing = model(navigator_error="no memory")
    assert told("support", values=values(), model=failing) == (
        1,
        "OK: the navigator fails: no memory",
    )
    stale = replace(values(), level="STALE")
    assert told("support", values=stale, model=failing)[0] == 2


def test_stamps_that_cannot_be_used_are_told():
    stamps = StampReport(unusable="header stamps are empty", by_arrival=7)
    assert told("image", values=values(), model=model(stamps=stamps)) == (
        1,
        "header stamps are empty: arrival time is used",
    )


def test_a_swap_that_never_ends_is_told():
    assert told("adapters", model=model(swap_pending_s=60.0))[0] == 2


def test_an_alarm_that_is_off_is_said():
    reason = "no alarm: 20 images of domain 'fog' for 544 dimensions, needs 50"
    quiet = snapshot(values=values(), model=model(no_alarm=reason))
    (status,) = [s for s in statuses(quiet) if "support" in s.name]
    assert (status.level, status.message) == (b"\x01", f"OK; {reason}")


def test_the_engine_is_told_with_precision_and_reason():
    (status,) = [s for s in statuses(snapshot()) if "inference" in s.name]
    facts = {each.key: each.value for each in status.values}
    assert (facts["backend"], facts["precision"]) == ("onnx", "f32")
    assert facts["backend_reason"] == "auto: the first that works here; not openvino"


@pytest.mark.parametrize(
    ("state", "level", "message"),
    [
        ("building", b"\x01", "building, onnx serves: tensorrt: tactics 3/9"),
        ("ready", b"\x00", "onnx"),
    ],
)
def test_an_engine_that_is_built_is_told(state, level, message):
    engine = EngineStatus(state, "onnx", "tensorrt: tactics 3/9")
    (status,) = [
        s for s in statuses(snapshot(model=model(engine=engine))) if "inference" in s.name
    ]
    assert (status.level, status.message) == (level, message)
    assert {"engine_state": state}.items() <= {v.key: v.value for v in status.values}.items()


@pytest.mark.parametrize(("names", "told"), [((), "0"), (("fog", "rain"), "2 fog, rain")])
def test_unsealed_adapters_are_counted_and_named(names, told):
    (status,) = [
        s for s in statuses(snapshot(model=model(unsealed=names))) if "adapters" in s.name
    ]
    assert status.level == b"\x00"
    assert {v.key: v.value for v in status.values}["unsealed"] == told


def test_the_states_of_an_engine_are_those_of_its_message():
    assert (EngineState.READY, EngineState.BUILDING) == (READY, BUILDING)


def test_rates_do_not_divide_by_time_that_stands_still(monkeypatch):
    from semla_ros.nodes import statistics

    monkeypatch.setattr(statistics, "now_ms", lambda: 5.0)
    counted = FrameStatistics()
    for _ in range(3):
        counted.arrived()
    assert counted.values().rate_hz == 0.0
    assert counted.values().since_last_s == 0.0


def test_rate_and_percentiles(monkeypatch):
    from semla_ros.nodes import statistics

    times = iter([0.0, 100.0, 200.0, 300.0, 300.0])
    monkeypatch.setattr(statistics, "now_ms", lambda: next(times))
    counted = FrameStatistics()
    for _ in range(4):
        counted.arrived()
    assert counted.values().rate_hz == pytest.approx(10.0)
    assert percentile([3, 1, 2, 4], 50) == 2
    assert percentile(range(1, 101), 95) == 95
    assert math.isnan(percentile([], 50))


def test_memory_is_told():
    assert 10e6 < resident_bytes() < 1e12


def test_a_mismatch_names_the_parameter_to_paste():
    text = qos.mismatch("/cam", "subscription", "RELIABILITY")
    assert "`qos_overrides./cam.subscription.reliability: best_effort`" in text
    assert "transient_local" in qos.mismatch("/m", "publisher", "DURABILITY")
    assert "change that publisher" in qos.mismatch("/m", "subscription", "LIVELINESS")


def test_serialized_stamps_are_read_and_filled_in():
    from rclpy.serialization import deserialize_message, serialize_message

    message = Image(header=Header(frame_id="cam"), height=1, width=1, step=3, encoding="rgb8")
    message.data = array.array("B", b"abc")
    data = serialize_message(message)
    assert header_stamp_ns(data) == 0
    filled = deserialize_message(with_stamp(data, 12_000_000_034), Image)
    assert (filled.header.stamp.sec, filled.header.stamp.nanosec) == (12, 34)
    assert filled.data == message.data
    assert filled.header.frame_id == "cam"


def test_messages_are_due_as_recorded_or_evenly():
    recorded = [0, 100_000_000, 300_000_000, 0, 100_000_000]
    assert list(due_times(recorded, hz=0, speed=2)) == pytest.approx([0, 0.05, 0.15, 0.15, 0.2])
    assert list(due_times(recorded[:3], hz=4, speed=1)) == pytest.approx([0, 0.25, 0.5])
