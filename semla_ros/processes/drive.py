"""Starting the ROS 2 node as a process, without ros2cli or launch."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from semla_ros.core.config import Config, updated
from semla_ros.core.errors import ConfigError, EngineUnavailableError
from semla_ros.core.shipped import shipped

NODE_MODULE = "semla_ros.nodes.segmenter_node"
DDS_PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"
NODE_PARAMETERS = ("autostart", "use_sim_time")
"""Parameters that the node has beside `Config`'s; true or false."""


@dataclass(frozen=True, slots=True)
class DriveRequest:
    """What the node is started with.

    Attributes:
        changes: Parameter -> value; checked before the node starts.
        image: Camera topic, None leaves `image` as it is.
        params_file: ROS parameter file.
        namespace: ROS namespace of the node.
        remap: Further remappings, from -> to.
    """

    changes: Mapping[str, object] = field(default_factory=dict)
    image: str | None = None
    params_file: Path | None = None
    namespace: str | None = None
    remap: Mapping[str, str] = field(default_factory=dict)


def node_command(request: DriveRequest) -> list[str]:
    """Return the command line that starts the node.

    Raises:
        ConfigError: A parameter is unknown or has a wrong value.
    """
    own = {name: v for name, v in request.changes.items() if name not in NODE_PARAMETERS}
    updated(Config(), own)
    for name in request.changes.keys() - own.keys():
        if not isinstance(request.changes[name], bool):
            raise ConfigError(f"parameter {name!r}: expected bool, got {request.changes[name]!r}")
    words = [sys.executable, "-m", NODE_MODULE, "--ros-args"]
    if request.params_file is not None:
        words += ["--params-file", str(request.params_file)]
    for name, value in request.changes.items():
        words += ["-p", f"{name}:={_yaml(value)}"]
    remap = dict(request.remap)
    if request.image is not None:
        remap["image"] = request.image
    if request.namespace is not None:
        remap["__ns"] = "/" + request.namespace.strip("/")
    for source, target in remap.items():
        words += ["-r", f"{source}:={target}"]
    return words


def node_environment() -> dict[str, str]:
    """Return this process's environment with the DDS profile for large images, unless one is set.

    Without it most camera images are lost on the way to a best-effort subscriber.
    """
    return os.environ | dds_variables()


def dds_variables() -> dict[str, str]:
    """Return what names the DDS profile for large images, nothing where one is set already."""
    profile = dds_profile()
    if DDS_PROFILE in os.environ or profile is None:
        return {}
    return {DDS_PROFILE: str(profile)}


def dds_profile() -> Path | None:
    """Return the Fast DDS profile that comes with the package, None where it is not installed."""
    return shipped("config/fastdds_large_images.xml")


def require_ros() -> None:
    """Check that rclpy and this package's interfaces can be imported.

    Raises:
        EngineUnavailableError: One of them is missing; the message says how to get it.
    """
    if importlib.util.find_spec("rclpy") is None:
        raise EngineUnavailableError(
            "the node needs rclpy, which this Python lacks: source a ROS 2 installation, or run "
            "`make demo` once and use .venv; recordings work without ROS (`semla replay`)"
        )
    if importlib.util.find_spec("semla_ros.msg") is None:
        raise EngineUnavailableError(
            "the node needs the interfaces of semla_ros, which are not built or not sourced: run "
            "`colcon build --packages-select semla_ros`, then `source install/setup.bash`"
        )


def run_node(request: DriveRequest) -> NoReturn:
    """Become the node: whoever signals or kills this process means the node.

    Raises:
        ConfigError: A parameter is unknown or has a wrong value, or the parameter file is none.
        EngineUnavailableError: ROS 2 or the interfaces are missing.
    """
    command = node_command(request)
    if request.params_file is not None and not request.params_file.is_file():
        raise ConfigError(
            f"expected a ROS parameter file, got {str(request.params_file)!r}, which is no file: "
            "correct --params-file"
        )
    require_ros()
    sys.stdout.flush()
    os.execve(command[0], command, node_environment())


def _yaml(value: object) -> str:
    """Return a parameter value as ROS's YAML reads it; strings quoted, so `5` stays a string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
