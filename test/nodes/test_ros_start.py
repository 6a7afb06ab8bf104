"""What a node that was started with wrong words says, and what mends it."""

import os
import subprocess
import sys

import pytest
from rclpy.lifecycle import LifecycleNode

from semla_ros.core.errors import ConfigError
from semla_ros.nodes import qos
from semla_ros.nodes.outputs import Outputs

ONCE = "it is read at the start only: restart the node with another value"
RELIABILITY = "qos_overrides./segmenter/overlay.publisher.reliability"


@pytest.mark.parametrize(
    ("policy", "value", "expected"),
    [
        ("reliability", "perhaps", "one of system_default, reliable, best_effort, best_available"),
        ("reliability", 5, "one of system_default, reliable"),
        ("durability", "unknown", "one of system_default, transient_local, volatile"),
        ("history", "all", "one of system_default, keep_last, keep_all"),
        ("depth", -1, "a whole number from 0 to 2147483647"),
        ("depth", 2**31, "a whole number from 0"),
        ("depth", "5", "a whole number from 0"),
        ("depth", True, "a whole number from 0"),
    ],
)
def test_a_wrong_override_is_refused_with_what_is_allowed(policy, value, expected):
    name = f"qos_overrides./a/b.publisher.{policy}"
    with pytest.raises(ConfigError) as refused:
        qos.check_override(name, value)
    assert str(refused.value).startswith(f"parameter {name!r}: expected {expected}")
    assert str(refused.value).endswith(f", got {value!r}")


@pytest.mark.parametrize(
    ("policy", "value"),
    [("reliability", "BEST_EFFORT"), ("depth", 5), ("history", "keep_all"), ("lifespan", "?")],
)
def test_what_ros_takes_or_nobody_declares_is_not_refused(policy, value):
    qos.check_override(f"qos_overrides./a.subscription.{policy}", value)


def test_a_wrong_override_is_told_and_leaves_no_publisher(robot):
    with robot(active=False, extra=("-p", f"{RELIABILITY}:=perhaps")) as it:
        status, _ = it.diagnosed("node", lambda s, _: s.level == b"\x02", "ERROR")
        before = len(list(it.node.publishers))
        assert not it.transition("configure")
        assert len(list(it.node.publishers)) == before
    assert f"parameter {RELIABILITY!r}: expected one of system_default" in status.message
    assert f"got 'perhaps'; {ONCE}" in status.message


def test_an_override_that_no_topic_takes_is_told_with_what_was_meant(robot):
    words = [
        ("-p", f"qos_overrides.{name}.depth:=3")
        for name in ("/segmenter/masc.publisher", "/segmenter/hint.subscription")
    ]
    with robot(extra=[word for pair in words for word in pair]) as it:
        status, _ = it.diagnosed("node", lambda s, _: s.level == b"\x01", "WARN")
    assert status.message.endswith(
        "unknown parameter 'qos_overrides./segmenter/masc.publisher.depth'; did you mean "
        "'qos_overrides./segmenter/mask.publisher.depth'?"
    )


class Refusing:
    """Stands for a method of a node that the middleware refuses from the n-th call on."""

    def __init__(self, method, calls):
        self._method, self._left = method, calls

    def __call__(self, *words, **named):
        if not self._left:
            raise RuntimeError("refused by the middleware")
        self._left -= 1
        return self._method(*words, **named)


def test_publishers_that_cannot_all_be_made_are_none(robot, monkeypatch):
    with robot(active=False, autostart=False) as it:
        node: LifecycleNode = it.node
        before = len(list(node.publishers))
        refusing = Refusing(node.create_lifecycle_publisher, 3)
        monkeypatch.setattr(node, "create_lifecycle_publisher", refusing)
        with pytest.raises(RuntimeError):
            Outputs(node, print)
        assert len(list(node.publishers)) == before


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_subscriptions_that_cannot_all_be_made_are_none(robot, monkeypatch, calls):
    with robot(active=False, autostart=False) as it:
        assert it.transition("configure")
        before = len(list(it.node.subscriptions))
        with monkeypatch.context() as patch:
            refusing = Refusing(it.node.create_subscription, calls)
            patch.setattr(it.node, "create_subscription", refusing)
            assert not it.transition("activate")
        assert len(list(it.node.subscriptions)) == before
        assert it.transition("activate")
        assert len(list(it.node.subscriptions)) == before + 3


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("autostart", "maybe", "expected true or false, got 'maybe'"),
        ("diagnostics_period_s", 0.01, "expected 0.05 to 60.0, got 0.01"),
        ("executor", "many", "expected one of ('single', 'multi', 'events'), got 'many'"),
    ],
)
def test_what_is_read_at_the_start_only_asks_for_a_restart(robot, capfd, name, value, says):
    with robot(active=False, **{name: value}) as it:
        status, _ = it.diagnosed("node", lambda s, _: s.level == b"\x02", "ERROR")
        assert not it.set_parameter(name, it.node.get_parameter(name).value)[0]
        assert not it.transition("configure")
    assert status.message == f"parameter {name!r}: {says}; {ONCE}"
    said = capfd.readouterr().err
    assert "restart it with what is wrong set right" in said
    assert "waiting for a lifecycle manager" not in said
    assert "by parameter" not in said


def test_a_wrong_value_is_told_before_anybody_configures(robot):
    with robot(active=False, autostart=False, temperature=-3.0) as it:
        status, _ = it.diagnosed("node", lambda s, _: s.level == b"\x02", "ERROR")
        assert "'temperature': expected 0.0 to 1000000.0, got -3.0" in status.message
        assert it.set_parameter("temperature", 0.5) == (True, "")
        it.received["/diagnostics"].clear()
        it.diagnosed("node", lambda s, _: s.level != b"\x02", "no ERROR once it is right")


def test_values_that_contradict_each_other_leave_those_of_the_start(robot):
    given = {"swap_trigger": 0.1, "executor": "multi", "diagnostics_period_s": 0.2}
    with robot(active=False, **given) as it:
        status, _ = it.diagnosed("node", lambda s, _: s.level == b"\x02", "ERROR")
        assert "'swap_release': expected at most swap_trigger 0.1, got 0.15" in status.message
        config = it.node._settings.config
        assert (config.executor, config.diagnostics_period_s) == ("multi", 0.2)
        assert it.set_parameter("swap_release", 0.05) == (True, "")
        assert it.transition("configure")
        assert it.node._settings.config.swap_trigger == 0.1


@pytest.mark.parametrize("text", [None, "a: [1\n b: 2"], ids=["missing", "broken"])
@pytest.mark.parametrize("module", ["nodes.segmenter_node", "bench.relay"])
def test_a_parameter_file_that_ros_refuses_is_one_line(tmp_path, module, text):
    path = tmp_path / "parameters.yaml"
    if text is not None:
        path.write_text(text)
    words = [sys.executable, "-m", f"semla_ros.{module}", "--ros-args", "--params-file", str(path)]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ)
    )
    said = [line for line in done.stderr.splitlines() if "[rcl]" not in line]
    assert (done.returncode, len(said)) == (1, 1), done.stderr
    assert said[0].startswith("ROS 2 refuses what follows --ros-args, correct it: ")
    assert str(path) in said[0]
