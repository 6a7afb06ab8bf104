"""A disk that can be filled."""

from __future__ import annotations

import subprocess
from pathlib import Path

from semla_ros.errors import SemlaError


def mount_small(place: Path, *, mib: int) -> None:
    """Mount a file system in memory of so many MiB at `place`.

    Raises:
        SemlaError: This user may not.
    """
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        place.rmdir()
        raise SemlaError(f"a small disk needs root and mount: {done.stderr.strip()}")


def size_mib(folder: Path) -> int:
    """Return how many whole MiB the files in `folder` need."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) // 2**20 + 1
