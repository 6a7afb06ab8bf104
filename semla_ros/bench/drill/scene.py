"""What the drill's camera sees: two kinds of weather of the demo world, and noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from semla_ros.demo.world import Drive

SIZE = (240, 320)
_FRAMES = 4
_SEED = 2026


def rendered() -> dict[str, Any]:
    """Return the pictures of a drill: two kinds of weather of the demo world, and noise."""
    groups: dict[str, Any] = {}
    for weather in ("clear-day", "fog-night"):
        drive = Drive(_SEED, fps=2.0, segments=((weather, _FRAMES / 2.0),), size=SIZE)
        groups[weather] = np.stack([drive.frame(i).image.rgb for i in range(_FRAMES)])
    rng = np.random.default_rng(_SEED)
    groups["noise"] = rng.integers(0, 256, (_FRAMES, *SIZE, 3), np.uint8)
    return groups
