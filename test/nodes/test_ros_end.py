"""What the live node says last: of an image that became too old, and of a stream that ends."""

import threading
import time

from semla_ros.msg import SupportScore
from sensor_msgs.msg import Image

STALE = SupportScore.STALE


def test_an_image_that_became_too_old_in_the_network_gives_no_mask(robot, make_image, scene):
    with robot(max_image_age_s=0.5, stale_timeout_s=60.0) as it:
        masks, supports = it.listen("mask", Image), it.listen("support", SupportScore)
        engine = it.node._pipeline.engine
        infer = engine.infer
        engine.infer = lambda rgb: time.sleep(1.0) or infer(rgb)

        def send():
            now = it.node.get_clock().now().to_msg()
            it.send(make_image(scene, stamp=(now.sec, now.nanosec)))

        send()
        status, _ = it.diagnosed(
            "inference", lambda _, f: f.get("errors.FrameTooOldError") == "1", "a late answer"
        )
        assert "expected an image at most 0.5 s old" in status.message
        assert not masks
        assert not supports
        del engine.infer
        it.send(make_image(scene, stamp=(2_100_000_000, 0)), lambda: masks)
        assert {m.header.stamp.sec for m in masks} == {2_100_000_000}


def test_a_worker_that_outlasts_its_patience_publishes_nothing(robot, make_image, scene, wait):
    go = threading.Event()
    with robot(swap_policy="never", stale_timeout_s=60.0) as it:
        masks, supports = it.listen("mask", Image), it.listen("support", SupportScore)
        engine, old = it.node._pipeline.engine, it.node._stream._worker
        infer = engine.infer
        engine.infer = lambda rgb: go.wait(60.0) and infer(rgb)
        it.send(make_image(scene, stamp=(777, 0)))
        wait(lambda: old.report().busy_s > 0, "the network hangs")
        it.node._patience_s = 0.1
        assert it.transition("deactivate")
        assert it.transition("activate")
        it.wait_until_active()
        go.set()
        assert old.stop(60.0)
        it.send(make_image(scene, stamp=(888, 0)), lambda: masks)
    assert {m.header.stamp.sec for m in masks} == {888}
    assert 777 not in {s.header.stamp.sec for s in supports}


def test_the_last_support_before_a_deactivation_is_stale(robot, make_image, scene, wait):
    with robot(stale_timeout_s=60.0) as it:
        supports = it.listen("support", SupportScore)
        it.send(make_image(scene), lambda: any(s.level != STALE for s in supports))
        it.diagnosed("support", lambda _, f: f["level"] not in ("unknown", "STALE"), "a level")
        wait(lambda: it.node._stream.report().worker.busy_s == 0, "no frame is in hand")
        assert it.transition("deactivate")
        wait(lambda: supports[-1].header.stamp.sec > 100, "support of no image")
        assert supports[-1].level == STALE
        assert supports[-1].observed.sec == 100
        it.received["/diagnostics"].clear()
        it.diagnosed("support", lambda s, _: s.message == "unknown", "no support in diagnostics")
        it.diagnosed("image", lambda _, f: f["image_rate_hz"] == "0.00", "no rate")


def test_without_support_there_is_no_last_one(robot):
    with robot(stale_timeout_s=60.0) as it:
        supports = it.listen("support", SupportScore)
        assert it.transition("deactivate")
        time.sleep(0.5)
        assert not supports
