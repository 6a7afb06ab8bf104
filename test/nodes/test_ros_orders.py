"""Lifecycle, parameters and services of the live node."""

import shutil
import subprocess
import sys

import pytest
import rclpy
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from semla_ros.msg import AdapterSwap, MixState
from semla_ros.srv import SelectAdapters, SetVocabulary
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from vision_msgs.msg import LabelInfo

from semla_ros.nodes.verdicts import ERROR_AFTER


def test_a_lifecycle_manager_may_lead(robot, make_image, scene):
    with robot(active=False, autostart=False) as it:
        assert it.node.state == "unconfigured"
        assert it.transition("configure")
        assert it.node.state == "inactive"
        assert it.camera.get_subscription_count() == 0
        assert it.transition("activate")
        masks = it.listen("mask", Image)
        it.send(make_image(scene), lambda: masks)
        assert it.transition("deactivate")
        heard = len(masks)
        it.send(make_image(scene))
        it.diagnosed("node", lambda _, f: f["state"] == "inactive", "inactive in diagnostics")
        assert len(masks) == heard
        assert it.transition("activate")
        it.wait_until_active()
        it.send(make_image(scene), lambda: len(masks) > heard)
        assert it.transition("deactivate")
        assert it.transition("cleanup")
        assert not it.transition("activate")
        assert it.transition("configure")
        assert it.transition("shutdown")
        assert it.node.state == "finalized"


@pytest.mark.parametrize("damage", ["edited", "missing"])
def test_a_corrupt_bundle_is_told_and_can_be_mended(robot, tiny, tmp_path, damage):
    broken = tmp_path / "bundle"
    shutil.copytree(tiny.root, broken)
    graph = broken / "segmentation.onnx"
    if damage == "edited":
        graph.write_bytes(graph.read_bytes() + b"x")
    else:
        graph.unlink()
    with robot(active=False, bundle=broken) as it:
        assert it.node.state == "unconfigured"
        status, _ = it.diagnosed("node", lambda s, _: s.level == b"\x02", "ERROR")
        assert "segmentation.onnx" in status.message
        shutil.copy(tiny.segmentation_graph, graph)
        assert it.transition("configure")
        assert it.transition("activate")
        it.diagnosed("node", lambda s, _: s.level == b"\x00", "OK after mending")


def test_parameters_are_live_or_refused_with_a_reason(robot):
    with robot() as it:
        assert it.set_parameter("temperature", 0.02) == (True, "")
        assert it.node._pipeline is not None
        assert it.set_parameter("temperature", 1) == (True, "")
        assert it.node.get_parameter("temperature").value == 1.0
        for name, value, says in (
            ("temperature", -1.0, "range"),
            ("temperature", "hot", "type"),
            ("executor", "multi", "read-only"),
            ("engine", "onnx", "`ros2 lifecycle set /segmenter deactivate`"),
            ("swap_policy", "sometimes", "expected one of ('debounce', 'always', 'never')"),
            ("swap_release", 0.9, "at most swap_trigger 0.3, got 0.9"),
            ("distance", "mahalanobis", "at least 500"),
            ("tempratur", 1.0, "unknown parameter 'tempratur'; did you mean 'temperature'?"),
        ):
            done, reason = it.set_parameter(name, value)
            assert not done
            assert says in reason
        assert it.node.get_parameter("distance").value == "bundle"


def test_a_live_parameter_reaches_the_pipeline(robot, make_image, scene, wait):
    with robot(navigator_rate_hz=0.0, swap_policy="never") as it:
        swaps = it.listen("swap", AdapterSwap)
        it.send(make_image(scene))
        assert it.set_parameter("swap_policy", "always")[0]
        it.send(make_image(scene), lambda: any(s.reason == "domain" for s in swaps))
    assert swaps[0].committed
    assert swaps[0].from_mix.id == "base=1"
    assert sum(a.weight for a in swaps[0].to_mix.adapters) == pytest.approx(1.0)


def test_a_wrong_start_value_is_named_and_can_be_set_right(robot):
    with robot(active=False, temperature=-3.0) as it:
        assert it.node.state == "unconfigured"
        status, _ = it.diagnosed("node", lambda s, _: s.level == b"\x02", "ERROR")
        assert "'temperature': expected 0.0 to 1000000.0, got -3.0" in status.message
        assert it.set_parameter("temperature", 0.5) == (True, "")
        assert it.transition("configure")


def test_a_wrong_bundle_is_mended_by_parameter_and_configure(robot, tiny, make_image, scene):
    with robot(active=False, bundle="/nowhere") as it:
        it.diagnosed("node", lambda s, _: "/nowhere" in s.message, "the wrong bundle is named")
        assert it.set_parameter("bundle", str(tiny.root)) == (True, "")
        assert it.transition("configure")
        assert it.transition("activate")
        it.wait_until_active()
        masks = it.listen("mask", Image)
        it.send(make_image(scene), lambda: masks, "mask")


def test_what_configure_reads_waits_for_the_next_configure(robot, wait):
    with robot() as it:
        done, reason = it.set_parameter("output_size", "model")
        assert not done
        assert "'output_size': read at configure" in reason
        assert "cleanup`, set it, then" in reason
        assert it.node.get_parameter("output_size").value == "input"

        assert it.transition("deactivate")
        assert it.set_parameter("output_size", "model") == (True, "")
        assert it.set_parameter("temperature", 0.03) == (True, "")
        assert not it.transition("activate")
        assert it.node.state == "inactive"
        said = "'output_size': set since configure, not in force"
        it.diagnosed("node", lambda s, _: said in s.message, "why it is not activated")

        assert it.transition("cleanup")
        assert it.transition("configure")
        assert it.transition("activate")
        it.wait_until_active()


def test_a_second_node_of_the_name_is_told_and_forgotten(robot):
    with robot() as it:
        it.diagnosed("node", lambda s, _: s.level == b"\x00", "OK alone")
        twin = rclpy.create_node("segmenter", use_global_arguments=False)
        status, _ = it.diagnosed("node", lambda s, _: s.level == b"\x01", "WARN beside another")
        assert "another node is named /segmenter" in status.message
        twin.destroy_node()
        it.received["/diagnostics"].clear()
        it.diagnosed("node", lambda s, _: s.level == b"\x00", "OK alone again")


def test_simulated_time_without_a_clock_is_told(robot):
    with robot(use_sim_time=True) as it:
        status, _ = it.diagnosed("node", lambda s, _: s.level == b"\x01", "WARN without a clock")
        assert (
            "time stands still: use_sim_time is true and nobody publishes /clock" in status.message
        )
        it.peer.create_publisher(Clock, "/clock", 1)
        it.diagnosed("node", lambda s, _: s.level == b"\x00", "OK with a clock")


def test_an_unknown_parameter_is_told_with_what_was_meant(robot):
    with robot(tempratur=1.0) as it:
        status, facts = it.diagnosed("node", lambda s, _: s.level == b"\x01", "WARN")
    assert status.message == "unknown parameter 'tempratur'; did you mean 'temperature'?"
    assert facts["unknown_parameters"] == "1"


def test_pin_unpin_and_base(robot, wait):
    request = SelectAdapters.Request
    with robot() as it:
        mixtures = it.listen("mix", MixState, latched=True)
        answer = it.call(
            SelectAdapters,
            "select_adapters",
            request(mode=request.PIN, names=["fog", "night"], weights=[3.0, 1.0]),
        )
        assert (answer.success, answer.message) == (True, "fog=0.75,night=0.25")
        wait(lambda: mixtures and mixtures[-1].state == MixState.PINNED, "PINNED")
        adapters = mixtures[-1].mix.adapters
        assert [a.name for a in adapters] == ["fog", "night"]
        assert [a.weight for a in adapters] == pytest.approx([0.75, 0.25])
        answer = it.call(SelectAdapters, "select_adapters", request(mode=request.BASE))
        assert (answer.success, answer.message) == (True, "base=1")
        assert it.call(SelectAdapters, "select_adapters", request(mode=request.FOLLOW)).success
        wait(lambda: mixtures[-1].state == MixState.FOLLOWING, "FOLLOWING")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mode": 1, "names": ["snow"]}, "got ['snow']"),
        ({"mode": 1}, "at least one"),
        ({"mode": 1, "names": ["fog", "fog"]}, "distinct"),
        ({"mode": 1, "names": ["fog"], "weights": [1.0, 2.0]}, "as many weights"),
        ({"mode": 1, "names": ["fog"], "weights": [-1.0]}, "finite weights"),
        ({"mode": 9}, "expected a mode"),
    ],
)
def test_impossible_mixes_are_refused_with_a_reason(robot, fields, says):
    with robot() as it:
        answer = it.call(SelectAdapters, "select_adapters", SelectAdapters.Request(**fields))
    assert not answer.success
    assert says in answer.message


def test_orders_need_an_active_node(robot):
    with robot(active=False, autostart=False) as it:
        answer = it.call(Trigger, "reload_library", Trigger.Request())
    assert not answer.success
    assert "activate" in answer.message


def test_a_new_vocabulary_changes_masks_and_label_info(robot, make_image, scene):
    names = ["sky", "grass", "everything else"]
    with robot() as it:
        infos = it.listen("label_info", LabelInfo, latched=True)
        masks = it.listen("mask", Image)
        it.send(make_image(scene), lambda: masks)
        answer = it.call(SetVocabulary, "set_vocabulary", SetVocabulary.Request(class_names=names))
        assert answer.success
        assert answer.message == "3 classes serve: sky, grass, everything else"
        it.send(make_image(scene, stamp=(900, 0)), lambda: masks[-1].header.stamp.sec == 900)
        refused = it.call(
            SetVocabulary, "set_vocabulary", SetVocabulary.Request(class_names=["a", "a"])
        )
        assert not refused.success
        assert "distinct" in refused.message
    assert [c.class_name for c in infos[-1].class_map] == [*names, "unlabeled"]
    assert max(masks[-1].data) <= 2


def test_reload_library_sees_what_was_removed(robot, tiny, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(tiny.root, copy)
    with robot(bundle=copy) as it:
        shutil.rmtree(copy / "library" / "rain")
        answer = it.call(Trigger, "reload_library", Trigger.Request())
        it.diagnosed("adapters", lambda _, f: f["adapters"] == "2", "two adapters")
    assert answer.success
    assert answer.message.startswith("2 adapters")


def test_a_failing_engine_is_an_error_until_it_works_again(robot, make_image, scene):
    with robot() as it:
        masks = it.listen("mask", Image)
        it.send(make_image(scene), lambda: masks)
        it.node._pipeline.engine.fail_at = {"infer"}
        for _ in range(ERROR_AFTER):
            before = it.node._stream.report().worker.errors.get("EngineError", 0)
            it.send(
                make_image(scene),
                lambda b=before: it.node._stream.report().worker.errors.get("EngineError", 0) > b,
            )
        status, facts = it.diagnosed("inference", lambda s, _: s.level == b"\x02", "ERROR")
        assert "in a row" in status.message
        assert int(facts["stage_errors.infer"]) >= ERROR_AFTER
        it.node._pipeline.engine.fail_at = ()
        heard = len(masks)
        it.send(make_image(scene), lambda: len(masks) > heard)


def test_a_failed_swap_keeps_the_old_mix_and_is_told(robot):
    request = SelectAdapters.Request(mode=SelectAdapters.Request.PIN, names=["fog"])
    with robot() as it:
        it.node._pipeline.engine.fail_at = {"write"}
        answer = it.call(SelectAdapters, "select_adapters", request)
        assert not answer.success
        assert "told to fail" in answer.message
        status, facts = it.diagnosed("adapters", lambda s, _: s.level == b"\x01", "WARN")
        assert "swap failed" in status.message
        assert (facts["mix"], facts["failed_swaps"]) == ("base=1", "1")


def test_incompatible_qos_is_explained_with_the_override(robot, capfd):
    override = "qos_overrides./camera/image_raw.subscription.reliability"
    with robot(active=False, extra=("-p", f"{override}:=reliable")) as it:
        profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        silent = PublisherEventCallbacks(use_default_callbacks=False)
        it.peer.create_publisher(Image, "/camera/image_raw", profile, event_callbacks=silent)
        _, facts = it.diagnosed(
            "image", lambda _, f: f["incompatible_publishers"] != "0", "a mismatch"
        )
    assert int(facts["incompatible_publishers"]) == 1
    assert f"{override}: best_effort" in capfd.readouterr().err


def test_a_program_triggers_a_service_and_says_what_it_answered(robot):
    def triggered(*words):
        command = [sys.executable, "-m", "semla_ros.processes.trigger", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    with robot() as it:
        done = triggered("/segmenter/reload_library")
        assert (done.returncode, "3 adapters, serving" in done.stderr) == (0, True)
        assert it.transition("deactivate")
        refused = triggered("/segmenter/reload_library")
    assert (refused.returncode, "activate" in refused.stderr) == (1, True)
    nobody = triggered("/nowhere", "--wait", "0.5")
    assert nobody.returncode == 1
    assert "expected '/nowhere' to be there within 0.5 s" in nobody.stderr
