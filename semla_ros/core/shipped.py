"""Where the files are that come with the package: one list of them, one search.

`semla_ros/share` links to them in a source tree, `pip install` copies them to the same place, and
CMakeLists.txt lays them in the `share/semla_ros` of a ROS installation.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

FOLDERS = ("config", "models/demo", "msg", "vision_msgs/msg")
"""What comes with the package; pyproject.toml and CMakeLists.txt install exactly these."""


def places() -> tuple[Path, ...]:
    """Return the folders that may hold the files: this package's own, then ROS prefixes'."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    own = Path(str(resources.files("semla_ros"))) / "share"
    return (own, *(Path(prefix) / "share" / "semla_ros" for prefix in prefixes if prefix))


def shipped(name: str) -> Path | None:
    """Return the file or folder `name` (`config/label_maps`), None where it is not installed."""
    found = (place / name for place in places())
    return next((path for path in found if path.exists()), None)


def shipped_files(name: str) -> dict[str, Path]:
    """Return stem -> YAML file of the shipped folder `name`, sorted by name."""
    folder = shipped(name)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}
