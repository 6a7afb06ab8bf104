"""Starts the segmenter on a camera topic: `ros2 launch semla_ros drive.launch.py image:=...`."""

import tempfile
from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from semla_ros.processes.drive import dds_variables

SHARE = Path(get_package_share_directory("semla_ros"))
NODE = "segmenter"

BOOLEAN = ["true", "false", "True", "False"]
"""All that an argument may be whose default is one of them."""

ARGUMENTS = (
    ("image", "image", "Camera topic; with image_transport compressed, without /compressed"),
    ("bundle", "", "Model bundle folder; empty: as in params_file"),
    ("engine", "", "auto or one of `semla engine list`; empty: as in params_file"),
    ("image_transport", "", "raw or compressed; empty: as in params_file"),
    ("params_file", str(SHARE / "config" / "drive.yaml"), "ROS parameter file"),
    ("namespace", "", "Namespace of the node"),
    ("use_sim_time", "false", "Take time from /clock"),
    ("autostart", "true", "Configure and activate without a lifecycle manager"),
    ("respawn", "false", "Start the node again 2 s after it ended by itself"),
    ("rviz", "false", "Show camera, overlay, mask, status and legend in RViz"),
    ("log_level", "info", "debug, info, warn, error or fatal"),
)


def generate_launch_description() -> LaunchDescription:
    """Return the node, and RViz if wanted, with the DDS profile for large images."""
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
    parameters = {
        name: given[name] for name in ("bundle", "engine", "image_transport") if given[name]
    }
    parameters |= {name: _true(given[name]) for name in ("use_sim_time", "autostart")}
    node = Node(
        package="semla_ros",
        executable="segmenter_node",
        name=NODE,
        namespace=given["namespace"],
        parameters=[given["params_file"], parameters],
        remappings=[("image", given["image"])],
        arguments=["--ros-args", "--log-level", f"{_logger(given)}:={given['log_level']}"],
        output="screen",
        emulate_tty=True,
        respawn=_true(given["respawn"]),
        respawn_delay=2.0,
    )
    profile = [SetEnvironmentVariable(*each) for each in dds_variables().items()]
    return [*profile, node, *_rviz(given)]


def _true(word: str) -> bool:
    return word.lower() == "true"


def _logger(given: dict[str, str]) -> str:
    """Return the name of the node's logger: namespace and node, joined by dots."""
    return ".".join([*(part for part in given["namespace"].split("/") if part), NODE])


def _rviz(given: dict[str, str]) -> list:
    """Return RViz on a configuration that names this node's topics, nothing where unwanted."""
    if not _true(given["rviz"]):
        return []
    from semla_ros.core.viz.rviz import rviz_config

    text = rviz_config(
        (SHARE / "config" / "semla.rviz").read_text(encoding="utf-8"),
        namespace=given["namespace"],
        image=given["image"],
        transport=given["image_transport"] or _transport_in(given["params_file"]),
    )
    with tempfile.NamedTemporaryFile(
        "w", prefix="semla-", suffix=".rviz", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            arguments=["-d", file.name],
            parameters=[{"use_sim_time": _true(given["use_sim_time"])}],
        )
    ]


def _transport_in(params_file: str) -> str:
    """Return the `image_transport` that a parameter file sets, raw where it sets none."""
    waiting = [yaml.safe_load(Path(params_file).read_text(encoding="utf-8"))]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if isinstance(each.get("image_transport"), str):
                return each["image_transport"]
            waiting.extend(each.values())
    return "raw"
