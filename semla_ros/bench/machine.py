"""What a figure was measured on: processor, cores, memory, system, versions, how busy it was."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from semla_ros.evaluation.run import versions

Machine = Mapping[str, str | int | float]

_EXTRA = ("openvino", "peft")
_GIB = 2**30


def machine_facts() -> dict[str, str | int | float]:
    """Return the facts; no host name, no path.

    `load_before` is the load average when the benchmark began: above 0.3 a core, other programs
    may have been at work, or it is the trace of the benchmark before.
    """
    facts: dict[str, str | int | float] = {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        "memory_gib": round(_memory_bytes() / _GIB, 1),
        "system": f"{_distribution()}, {platform.system()} {platform.release()}",
        "load_before": round(load(), 2),
    }
    found = versions()
    found.pop("machine", None)
    return facts | {f"version.{name}": text for name, text in (found | _extra()).items()}


def load() -> float:
    """Return the load average of the last minute, 0 where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _processor() -> str:
    text = _read("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _memory_bytes() -> float:
    found = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0.0


def _distribution() -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', _read("/etc/os-release"), re.MULTILINE)
    return found.group(1) if found else platform.system()


def _extra() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in (*_EXTRA, "ros-rclpy", "rclpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
