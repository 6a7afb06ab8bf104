"""How many processor cores this process is given."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return the cores that affinity and the control groups' quotas leave, at least 1."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    return max(1, min([len(os.sched_getaffinity(0)), *quotas(_CGROUPS, _OWN)]))


def quotas(root: Path, own: Path) -> Iterator[int]:
    """Yield the cores, rounded up, that each control group above this process may use.

    Args:
        root: Where control groups are mounted, version 2.
        own: The file that says which is this process's.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst, `cpu.max`.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if path is None or ".." in Path(path).parts:
        return
    for group in ((here := root / path), *here.parents):
        if group.is_relative_to(root):
            try:
                quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
                yield math.ceil(int(quota) / int(period))
            except (OSError, ValueError):  # "max": no quota; the root has no such file
                continue
