"""Starts the real node with functions that fail for as long as a file says so.

    python -m semla_ros.bench.drill.faulty_node SWITCHES --ros-args ...

`SWITCHES/navigator` holding `raise` lets the navigator raise, `hang` lets it hang, until the file
is gone. This is for what neither a message nor a damaged file can bring about; the node itself
knows nothing of it.
"""

from __future__ import annotations

import functools
import importlib
import runpy
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from semla_ros.processes.drive import NODE_MODULE

POINTS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "navigator": ("semla_ros.navigator.navigator", "Navigator", "embed"),
        "infer": ("semla_ros.engine.slots", "TwoSlotEngine", "infer"),
        "step": ("semla_ros.pipeline.adaptive", "AdaptivePipeline", "step"),
        "read": ("semla_ros.library.library", "AdapterLibrary", "get"),
        "text": ("semla_ros.engine.text", "TextEncoder", "encode"),
        "merge": ("semla_ros.library.fusion", "MergedWeights", "write"),
        "prepare": ("semla_ros.engine.graph_engine", "GraphEngine", "_prepare_impl"),
        "commit": ("semla_ros.engine.slots", "TwoSlotEngine", "commit"),
    }
)
"""Name of a switch -> module, class and method that it breaks."""

_LOOK_S = 0.05


def install(switches: Path) -> None:
    """Put a switch before every method of `POINTS`."""
    for name, (module, owner, method) in POINTS.items():
        _wrap(getattr(importlib.import_module(module), owner), method, switches / name)


def _wrap(owner: type[Any], method: str, switch: Path) -> None:
    original = getattr(owner, method)

    @functools.wraps(original)
    def guarded(*args: Any, **options: Any) -> Any:  # noqa: ANN401  any method
        while (how := _read(switch)) == "hang":
            time.sleep(_LOOK_S)
        if how == "raise":
            raise RuntimeError(f"the drill broke {owner.__name__}.{method}")
        return original(*args, **options)

    setattr(owner, method, guarded)


def _read(switch: Path) -> str:
    try:
        return switch.read_text(encoding="ascii")
    except OSError:
        return ""


def main() -> None:
    """Run the node; its arguments follow the folder of switches."""
    install(Path(sys.argv.pop(1)))
    runpy.run_module(NODE_MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
