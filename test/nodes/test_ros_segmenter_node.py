"""The live node against a real peer: what goes in under which header comes out how."""

import array

import cv2
import numpy as np
import pytest
from semla_ros.msg import EngineState, MixState, SupportScore
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64
from vision_msgs.msg import LabelInfo

from semla_ros.core.config import Config
from semla_ros.core.types import Frame
from semla_ros.pipeline import build_pipeline


def labels_offline(bundle, rgb, **changes):
    """What the same pipeline says without ROS."""
    config = Config(bundle=str(bundle.root), engine="fake", adaptation="inline", **changes)
    with build_pipeline(config) as pipeline:
        return pipeline.step(Frame(0, "camera", rgb)).labels


def pixels_of(message):
    assert message.step == message.width * (2 if message.encoding.endswith("16") else 1)
    assert len(message.data) == message.step * message.height
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


def test_mask_confidence_and_support_carry_the_images_header(robot, make_image, scene, tiny):
    sent = make_image(scene, stamp=(1_700_000_000, 123_456_789), frame_id="front/optical")
    with robot(swap_policy="never") as it:
        masks = it.listen("mask", Image)
        confidences = it.listen("confidence", Image)
        supports = it.listen("support", SupportScore)
        it.send(sent, lambda: masks and confidences and any(s.level != 3 for s in supports))
        mask, confidence = masks[0], confidences[0]
        support = next(s for s in supports if s.level != SupportScore.STALE)
    for message in (mask, confidence, support):
        assert message.header == sent.header
    assert (mask.encoding, confidence.encoding) == ("mono8", "mono8")
    np.testing.assert_array_equal(pixels_of(mask), labels_offline(tiny, scene))
    assert len(np.unique(pixels_of(mask))) > 1
    assert pixels_of(confidence).shape == scene.shape[:2]
    assert support.nearest_adapter in ("fog", "night", "rain")
    assert support.nearest_distance > 0
    assert support.mix_id == "base=1"


def test_a_late_joiner_learns_which_engine_serves(robot, wait):
    with robot(engine="onnx") as it:
        told = it.listen("engine", EngineState, latched=True)
        wait(lambda: told, "the engine's state for a late joiner")
    assert (told[0].engine, told[0].state) == ("onnx", "ready")


def test_a_late_joiner_gets_classes_mixture_and_legend(robot, wait):
    with robot() as it:
        infos = it.listen("label_info", LabelInfo, latched=True)
        mixtures = it.listen("mix", MixState, latched=True)
        legends = it.listen("legend", Image, latched=True)
        wait(lambda: infos and mixtures and legends, "latched messages for a late joiner")
    entries = {c.class_id: c.class_name for c in infos[0].class_map}
    assert entries == {0: "road", 1: "car", 2: "sky", 3: "tree", 255: "unlabeled"}
    assert [a.name for a in mixtures[0].mix.adapters] == ["base"]
    assert mixtures[0].state == MixState.FOLLOWING
    assert legends[0].encoding == "rgb8"


@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("rgb8", lambda rgb: rgb),
        ("bgr8", lambda rgb: rgb[..., ::-1]),
        ("rgba8", lambda rgb: np.dstack([rgb, rgb[..., 0]])),
        ("bgra8", lambda rgb: np.dstack([rgb[..., ::-1], rgb[..., 0]])),
    ],
)
def test_every_colour_order_gives_the_same_mask(robot, make_image, scene, tiny, encoding, stored):
    with robot(swap_policy="never") as it:
        masks = it.listen("mask", Image)
        it.send(make_image(stored(scene), encoding=encoding), lambda: masks)
    np.testing.assert_array_equal(pixels_of(masks[0]), labels_offline(tiny, scene))


def test_gray_bayer_yuv_big_endian_and_padded_images_are_segmented(robot, make_image, scene):
    gray = scene[..., 0]
    wide = (gray.astype(np.uint16) * 257).byteswap()
    padded = np.pad(scene.reshape(48, -1), ((0, 0), (0, 8)))
    messages = [
        make_image(gray, encoding="mono8"),
        make_image(wide, encoding="mono16", is_bigendian=1),
        make_image(gray, encoding="bayer_rggb8"),
        make_image(scene[..., :2], encoding="yuv422_yuy2"),
        make_image(padded, width=64, step=padded.shape[1], encoding="rgb8"),
    ]
    with robot(swap_policy="never") as it:
        masks = it.listen("mask", Image)
        for number, message in enumerate(messages):
            message.header.stamp.sec = 200 + number
            it.send(message, lambda n=number: any(m.header.stamp.sec == 200 + n for m in masks))
    assert all(pixels_of(m).shape == (48, 64) for m in masks)


def test_compressed_stream(robot, make_image, scene, tiny):
    data = cv2.imencode(".png", np.ascontiguousarray(scene[..., ::-1]))[1].tobytes()
    sent = CompressedImage(
        header=make_image(scene).header,
        format="rgb8; png compressed bgr8",
        data=array.array("B", data),
    )
    with robot(image_transport="compressed", swap_policy="never") as it:
        masks = it.listen("mask", Image)
        it.send(sent, lambda: masks)
        broken = CompressedImage(header=sent.header, format="jpeg", data=sent.data[:200])
        it.send(broken)
        it.diagnosed(
            "inference", lambda _, f: f.get("errors.FrameError", "0") != "0", "a counted error"
        )
        heard = len(masks)
        it.send(sent, lambda: len(masks) > heard)
    np.testing.assert_array_equal(pixels_of(masks[0]), labels_offline(tiny, scene))


def test_malformed_images_are_counted_and_the_node_lives(robot, make_image, scene):
    empty = Image(header=make_image(scene).header, encoding="rgb8")
    truncated = make_image(scene, data=array.array("B", bytes(100)))
    unknown = make_image(scene, encoding="32FC1")
    wrong_step = make_image(scene, step=7)
    with robot() as it:
        masks = it.listen("mask", Image)
        for number, message in enumerate((empty, truncated, unknown, wrong_step), start=1):
            it.send(message)
            _, facts = it.diagnosed(
                "inference",
                lambda _, f, n=number: f.get("errors.FrameError") == str(n),
                f"error {number} counted",
            )
        assert "step" in facts["last_error"]
        assert not masks
        it.send(make_image(scene), lambda: masks)
        it.diagnosed(
            "inference", lambda s, f: s.level == b"\x00" and f["frames"] != "0", "OK again"
        )


def test_all_equal_images_and_a_changing_resolution(robot, make_image, scene):
    with robot(swap_policy="never") as it:
        masks = it.listen("mask", Image)
        for size in ((48, 64), (30, 20), (1, 1), (96, 33)):
            blank = make_image(np.full((*size, 3), 127, np.uint8))
            it.send(blank, lambda s=size: masks and pixels_of(masks[-1]).shape == s)


def test_output_size_of_the_model(robot, make_image, scene):
    with robot(output_size="model") as it:
        masks, overlays = it.listen("mask", Image), it.listen("overlay", Image)
        it.send(make_image(scene), lambda: masks and overlays)
    assert (masks[0].height, masks[0].width) == (32, 32)
    assert (overlays[0].height, overlays[0].width) == (32, 32)


def test_backward_time_is_not_the_end(robot, make_image, scene):
    with robot() as it:
        masks = it.listen("mask", Image)
        for second in (1000, 1001, 5, 6):
            message = make_image(scene, stamp=(second, 0))
            it.send(message, lambda s=second: any(m.header.stamp.sec == s for m in masks))
        it.diagnosed("inference", lambda _, f: int(f["frames"]) >= 4, "four frames")


def test_a_stalled_camera_makes_support_stale_and_repeats_no_mask(robot, make_image, scene, wait):
    with robot(stale_timeout_s=0.4) as it:
        masks, supports = it.listen("mask", Image), it.listen("support", SupportScore)
        it.send(make_image(scene), lambda: masks and any(s.level != 3 for s in supports))

        def alone():  # the images' own stamps are of second 100
            return [
                s for s in supports if s.level == SupportScore.STALE and s.header.stamp.sec > 100
            ]

        wait(lambda: len(alone()) >= 3, "STALE")
        before = len(masks)
        wait(lambda: len(alone()) >= 6, "STALE goes on")
        assert len(masks) == before
        stale = supports[-1]
        assert (stale.score, stale.smoothed_score) == (0.0, 0.0)
        assert stale.header.frame_id == "camera_optical"
        it.diagnosed("support", lambda s, _: s.message == "STALE", "STALE in diagnostics")
        it.diagnosed("image", lambda s, _: s.level == b"\x02", "ERROR in diagnostics")
        it.send(make_image(scene), lambda: supports[-1].level != SupportScore.STALE)


def test_overlay_is_made_only_for_somebody(robot, make_image, scene, monkeypatch):
    from semla_ros.nodes import views

    made = []
    original = views.overlay
    monkeypatch.setattr(views, "overlay", lambda *a, **k: made.append(1) or original(*a, **k))
    with robot() as it:
        masks = it.listen("mask", Image)
        it.send(make_image(scene), lambda: len(masks) >= 3)
        assert not made
        overlays = it.listen("overlay", Image)
        it.send(make_image(scene), lambda: overlays)
    assert (overlays[0].encoding, overlays[0].header) == ("rgb8", masks[0].header)
    assert len(overlays[0].data) == scene.size


def test_old_images_are_dropped_and_counted(robot, make_image, scene):
    with robot(max_image_age_s=0.5) as it:
        masks = it.listen("mask", Image)
        it.send(make_image(scene, stamp=(100, 0)))
        it.diagnosed(
            "inference",
            lambda _, f: f.get("errors.FrameTooOldError") == "1",
            "an old image counted",
        )
        now = it.node.get_clock().now().to_msg()
        it.send(make_image(scene, stamp=(now.sec + 5, 0)), lambda: masks)
    assert all(m.header.stamp.sec != 100 for m in masks)


def test_debug_topics(robot, make_image, scene):
    with robot() as it:
        heard = [
            it.listen(f"debug/{name}", Float64)
            for name in ("processing_time_s", "cyclic_time_s", "pipeline_latency_s")
        ]
        it.send(make_image(scene), lambda: all(heard))
    assert 0 < heard[0][0].data < 60
    assert heard[1][0].data > 0


def test_simulated_time_that_stands_still(robot, make_image, scene, wait):
    with robot(use_sim_time=True, stale_timeout_s=0.3, max_image_age_s=1.0) as it:
        masks, supports = it.listen("mask", Image), it.listen("support", SupportScore)
        it.send(make_image(scene), lambda: masks)
        wait(lambda: supports and supports[-1].level == SupportScore.STALE, "STALE without /clock")
        it.diagnosed("image", lambda _, f: f["image_age_p50_s"] == "", "no age without a clock")
