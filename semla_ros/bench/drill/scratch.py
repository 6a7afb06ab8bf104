"""What a drill works with: pictures, a disk that can be filled, what killed processes leave."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from semla_ros.core.errors import SemlaError
from semla_ros.demo.world import Drive

SIZE = (240, 320)
_FRAMES = 4
_SEED = 2026
_SHARED = Path("/dev/shm")
_MAKERS = ("fastdds_", "fastrtps_")


def rendered() -> dict[str, Any]:
    """Return the pictures of a drill: two kinds of weather of the demo world, and noise."""
    groups: dict[str, Any] = {}
    for weather in ("clear-day", "fog-night"):
        drive = Drive(_SEED, fps=2.0, segments=((weather, _FRAMES / 2.0),), size=SIZE)
        groups[weather] = np.stack([drive.frame(i).image.rgb for i in range(_FRAMES)])
    rng = np.random.default_rng(_SEED)
    groups["noise"] = rng.integers(0, 256, (_FRAMES, *SIZE, 3), np.uint8)
    return groups


def mount_small(place: Path, *, holding: Path, spare_mib: int) -> None:
    """Mount a file system in memory at `place` for the files of `holding` and a little more.

    Raises:
        SemlaError: This user may not.
    """
    place.mkdir()
    mib = sum(p.stat().st_size for p in holding.rglob("*") if p.is_file()) // 2**20 + 1
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib + spare_mib}m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        place.rmdir()
        raise SemlaError(f"a small disk needs root and mount: {done.stderr.strip()}")


def mapped(pid: int) -> set[str]:
    """Return the names of DDS's shared memory that process `pid` maps; none if it is gone."""
    try:
        paths = [Path(each.path) for each in psutil.Process(pid).memory_maps()]
    except psutil.Error:
        return set()
    return {p.name for p in paths if p.parent == _SHARED and p.name.startswith(_MAKERS)}


def remove_shared(names: set[str]) -> None:
    """Remove the shared memory `names` that no living process maps; nobody else may lose any."""
    if names:
        names = names - set[str]().union(*map(mapped, psutil.pids()))
    for name in names:
        for each in (name, f"{name}_el", f"sem.{name}_mutex"):
            (_SHARED / each).unlink(missing_ok=True)
