"""What the launch files start; `launch` itself needs a ROS 2 installation and is played here."""

import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

from semla_ros.evaluation.live_result import CAMERA
from semla_ros.processes import drive, player, recorder

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("actions", "substitutions", "events", "event_handlers", "launch_description_sources")


class Said:
    """A call of whatever a launch file uses: its name and what it got."""

    def __init__(self, name, /, *args, **given):
        self.name, self.args, self.given = name, args, given

    def perform(self, context):
        return context[self.args[0]]


class Played(ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **given: Said(name, *args, **given)


@pytest.fixture
def launched(monkeypatch):
    """Returns what a launch file declares and what it starts with changed arguments."""
    for name in ("launch", *(f"launch.{part}" for part in PARTS), "launch_ros"):
        monkeypatch.setitem(sys.modules, name, Played(name))
    for name in ("launch_ros.actions", "ament_index_python.packages"):
        monkeypatch.setitem(sys.modules, name, Played(name))
    shared = sys.modules["ament_index_python.packages"]
    monkeypatch.setattr(shared, "get_package_share_directory", lambda _: str(ROOT), raising=False)

    def start(name, **changes):
        file = runpy.run_path(str(ROOT / "launch" / name))
        declared = {
            each.args[0]: each
            for each in file["generate_launch_description"]().args[0]
            if each.name == "DeclareLaunchArgument"
        }
        given = {n: each.given["default_value"] for n, each in declared.items()} | changes
        return declared, file["_start"](given)

    return start


def words(started, name):
    (command,) = (each.given["cmd"] for each in started if each.given.get("name") == name)
    return command[3:]


@pytest.mark.parametrize(("transport", "suffix"), [("raw", ""), ("compressed", "/compressed")])
def test_the_recorder_takes_the_camera_last(launched, transport, suffix):
    given = {"bag": "in.mcap", "out": "out.mcap", "image_transport": transport}
    _, started = launched("record.launch.py", **given)
    told = recorder._arguments(words(started, "recorder"))
    assert (told.last, str(told.out)) == (CAMERA + suffix, "out.mcap")
    assert CAMERA + suffix not in told.topics
    assert "/segmenter/mask" in told.topics
    played = player._arguments(words(started, "player"))
    assert (played.to, played.subscribers) == (CAMERA + suffix, 2)


@pytest.mark.parametrize(("word", "clock"), [("true", True), ("True", True), ("False", False)])
def test_true_may_begin_with_a_capital(launched, word, clock):
    _, started = launched("record.launch.py", bag="in.mcap", out="out.mcap", clock=word)
    assert player._arguments(words(started, "player")).clock is clock
    _, (*_, node) = launched("drive.launch.py", autostart=word, respawn=word)
    assert node.given["parameters"][1]["autostart"] is clock
    assert node.given["respawn"] is clock


def test_an_argument_that_is_true_or_false_takes_no_other_word(launched):
    found = {}
    for name in ("drive.launch.py", "record.launch.py"):
        declared, _ = launched(name, bag="", out="")
        found |= {n: each.given["choices"] for n, each in declared.items()}
    choices = {n: words for n, words in found.items() if words is not None}
    assert set(choices) == {"use_sim_time", "autostart", "respawn", "rviz", "clock"}
    assert all(set(words) == {"true", "false", "True", "False"} for words in choices.values())


def test_the_node_gets_the_profile_that_semla_drive_sets(launched, monkeypatch):
    monkeypatch.delenv(drive.DDS_PROFILE, raising=False)
    _, started = launched("drive.launch.py")
    assert started[0].args == (drive.DDS_PROFILE, str(drive.dds_profile()))
    monkeypatch.setenv(drive.DDS_PROFILE, "mine.xml")
    _, started = launched("drive.launch.py")
    assert [each.name for each in started] == ["Node"]
