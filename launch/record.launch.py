"""Plays a bag into the node and records what it answers, for `semla compare`.

ros2 launch semla_ros record.launch.py bag:=/data/drive out:=live.mcap
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription
from semla_ros.evaluation.live_result import CAMERA, NODE, RECORDED

SHARE = Path(get_package_share_directory("semla_ros"))
LAST_FRAME_S = 1.0
"""How long the last frame may take on its way through the node."""

BOOLEAN = ["true", "false", "True", "False"]
"""All that an argument may be whose default is one of them."""

ARGUMENTS = (
    ("bag", None, "rosbag2 folder, .mcap or .db3"),
    ("out", None, "The .mcap to write"),
    ("topic", "", "Image topic of the bag; empty: the only one"),
    ("image_transport", "raw", "raw or compressed, as the bag's topic is"),
    ("rate", "1.0", "Times real time"),
    ("clock", "true", "Publish /clock from the images' stamps, and run the node on it"),
    ("bundle", "", "Model bundle folder; empty: as in params_file"),
    ("engine", "", "Inference backend; empty: as in params_file"),
    ("params_file", str(SHARE / "config" / "drive.yaml"), "ROS parameter file"),
)


def generate_launch_description() -> LaunchDescription:
    """Return node, recorder and player; everything ends with the bag."""
    declared = [
        DeclareLaunchArgument(
            name,
            default_value=default,
            description=description,
            choices=BOOLEAN if default in BOOLEAN else None,
        )
        for name, default, description in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list:
    given = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    topic = CAMERA + "/compressed" if given["image_transport"] == "compressed" else CAMERA
    recorder = [*_module("recorder"), given["out"], "/diagnostics"]
    recorder += [*(f"{NODE}/{name}" for name in RECORDED), "--last", topic]
    player = [*_module("player"), given["bag"], "--to", topic, "--speed", given["rate"]]
    player += ["--subscribers", "2", "--wait", "60"]
    player += ["--topic", given["topic"]] if given["topic"] else []
    player += ["--clock"] if given["clock"].lower() == "true" else []
    playing = ExecuteProcess(cmd=player, name="player", output="screen")
    end = TimerAction(period=LAST_FRAME_S, actions=[EmitEvent(event=Shutdown(reason="bag ended"))])
    return [
        _node(given),
        ExecuteProcess(cmd=recorder, name="recorder", output="screen"),
        playing,
        RegisterEventHandler(OnProcessExit(target_action=playing, on_exit=[end])),
    ]


def _node(given: dict[str, str]) -> IncludeLaunchDescription:
    passed = {n: given[n] for n in ("bundle", "engine", "params_file", "image_transport")}
    passed |= {"image": CAMERA, "use_sim_time": given["clock"]}
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / "drive.launch.py"))
    return IncludeLaunchDescription(source, launch_arguments=passed.items())


def _module(name: str) -> list[str]:
    return ["python3", "-m", f"semla_ros.processes.{name}"]
