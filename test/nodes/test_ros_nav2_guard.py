"""While nothing is known of what the camera sees, Nav2 drives nowhere and forgets the road."""

import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import rclpy
from action_msgs.srv import CancelGoal
from nodes.conftest import running, wait_for
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.task import Future
from semla_ros.msg import SupportScore
from std_srvs.srv import Empty

from semla_ros.core.errors import ConfigError, EngineUnavailableError
from semla_ros.nodes import nav2_guard, qos
from semla_ros.nodes.nav2_guard import ACTIONS, CLEAR, Nav2Guard, clear_type

QUIET_S = 1.0


class Nav2:
    """Serves what the guard asks of Nav2; the clearing service has an empty request here."""

    def __init__(self, node):
        self.cancelled, self.cleared = [], []
        self.support = node.create_publisher(SupportScore, "support", qos.output_qos())
        for action in ACTIONS:
            node.create_service(
                CancelGoal, f"{action}/_action/cancel_goal", self._take(self.cancelled, action)
            )
        node.create_service(Empty, CLEAR, self._take(self.cleared, CLEAR))

    @staticmethod
    def _take(heard, name):
        def answer(request, response):
            if isinstance(request, CancelGoal.Request):
                assert request == CancelGoal.Request()  # that is: every goal
            heard.append(name)
            return response

        return answer

    def say(self, level, seconds):
        """Publish a level for so long, often enough not to be silent."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.support.publish(SupportScore(level=level))
            time.sleep(0.05)


@contextmanager
def guarded(**parameters):
    """A running guard and the Nav2 that it guards."""
    arguments = ["--ros-args"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={value}"]
    rclpy.init(args=arguments)
    guard = Nav2Guard(Empty)
    peer = rclpy.create_node("nav2", use_global_arguments=False)
    nav2 = Nav2(peer)
    executors = [SingleThreadedExecutor(), SingleThreadedExecutor()]
    try:
        for executor, node in zip(executors, (guard, peer), strict=True):
            executor.add_node(node)
        with running(executors[0]), running(executors[1]):
            wait_for(nav2.support.get_subscription_count, "the guard listens")
            yield nav2
    finally:
        guard.destroy_node()
        peer.destroy_node()
        rclpy.try_shutdown()


@pytest.mark.parametrize("level", [SupportScore.OK, SupportScore.LOW, SupportScore.OUT_OF_LIBRARY])
def test_it_lets_nav2_drive_while_masks_are_usable(level):
    with guarded(silence_s=30.0) as nav2:
        nav2.say(level, QUIET_S)
        assert not nav2.cancelled
        assert not nav2.cleared


def test_stale_cancels_every_goal_again_and_again_and_clears_once():
    with guarded(silence_s=30.0, clear_after_s=0.5) as nav2:
        nav2.say(SupportScore.STALE, 0.3)
        wait_for(lambda: set(nav2.cancelled) == set(ACTIONS), "both actions are cancelled")
        wait_for(lambda: nav2.cleared, "the costmap is cleared")
        wait_for(lambda: len(nav2.cancelled) > 8, "later goals are cancelled too")
        assert nav2.cleared == [CLEAR]
        nav2.say(SupportScore.OK, 0.5)
        heard = len(nav2.cancelled)
        nav2.say(SupportScore.OK, QUIET_S)
        assert len(nav2.cancelled) == heard
        nav2.say(SupportScore.STALE, 0.3)
        wait_for(lambda: len(nav2.cleared) == 2, "the next stretch clears again")


def test_silence_counts_as_stale():
    with guarded(silence_s=0.5, clear_after_s=0.0) as nav2:
        nav2.say(SupportScore.OK, 0.3)
        wait_for(lambda: nav2.cancelled and nav2.cleared, "goals are cancelled, road forgotten")


@contextmanager
def made(*words):
    """A guard that does not spin, told what ROS takes for parameters."""
    rclpy.init(args=["--ros-args", *(part for word in words for part in ("-p", word))])
    try:
        guard = Nav2Guard(Empty)
        yield guard
        guard.destroy_node()
    finally:
        rclpy.try_shutdown()


def test_whole_numbers_are_seconds_too():
    with made("silence_s:=3", "clear_after_s:=0") as guard:
        assert (guard._silence_s, guard._clear_after_s) == (3.0, 0.0)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("silence_s:=0", "'silence_s': expected seconds, more than 0, got 0"),
        ("silence_s:=.nan", "'silence_s': expected seconds, more than 0, got nan"),
        ("silence_s:=.inf", "'silence_s': expected seconds, more than 0, got inf"),
        ("silence_s:=soon", "'silence_s': expected seconds, more than 0, got 'soon'"),
        ("clear_after_s:=-1.0", "'clear_after_s': expected seconds, 0 or more, got -1.0"),
        ("clear_after_s:=true", "'clear_after_s': expected seconds, 0 or more, got True"),
        ("actions:=/follow", "'actions': expected a list of names, got '/follow'"),
        ("clear_service:=5", "'clear_service': expected a name, got 5"),
    ],
)
def test_a_wrong_parameter_is_refused_with_what_was_expected(word, says):
    with pytest.raises(ConfigError, match=says), made(word):
        pass


PROGRAM = """
import sys
from std_srvs.srv import Empty
from semla_ros.nodes import nav2_guard
nav2_guard.clear_type = lambda: Empty
sys.exit(nav2_guard.main(["--ros-args", "-p", sys.argv[1]]))
"""


@pytest.mark.parametrize("word", ["silence_s:=soon", "clear_service:=/not a name"])
def test_a_wrong_parameter_is_one_line_and_the_end(word):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, word], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr


def test_an_unknown_parameter_is_told_and_known_ones_cannot_change(capfd):
    with made("silense_s:=3.0") as guard:
        (done,) = guard.set_parameters([Parameter("silence_s", value=9.0)])
        assert not done.successful
    said = capfd.readouterr().err
    assert "unknown parameter 'silense_s'; did you mean 'silence_s'?: ignored" in said


class Asked:
    """A client whose answers are given by hand."""

    def __init__(self):
        self.answers = []

    def service_is_ready(self):
        return True

    def call_async(self, request):
        self.answers.append(Future())
        return self.answers[-1]


def test_the_costmap_counts_as_cleared_once_it_says_so(monkeypatch):
    with made("clear_after_s:=0.0") as guard:
        guard._clear = asked = Asked()
        guard._stale = True
        guard._look()
        guard._look()
        assert len(asked.answers) == 1, "the answer is waited for"
        monkeypatch.setattr(nav2_guard, "ASK_AGAIN_S", 0.0)
        guard._look()
        assert len(asked.answers) == 2, "no answer: asked again"
        asked.answers[0].set_result(Empty.Response())
        guard._look()
        assert len(asked.answers) == 2
        guard._stale = False
        guard._look()
        guard._stale = True
        guard._look()
        assert len(asked.answers) == 3, "the next stretch"
        asked.answers[1].set_result(Empty.Response())
        guard._look()
        assert len(asked.answers) == 4, "an answer of the stretch before says nothing"


def test_without_nav2s_messages_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nav2_msgs.srv", None)
    with pytest.raises(EngineUnavailableError, match="nav2-msgs"):
        clear_type()
