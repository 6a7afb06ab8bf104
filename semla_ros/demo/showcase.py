"""`semla demo`: a two-minute drive through changing weather, live over ROS 2."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semla_ros.demo.footage import Answers, Footage, demo_drive, read_answers, render_footage
from semla_ros.demo.score import DriveScore, score_drive
from semla_ros.demo.showcase_page import showcase_page
from semla_ros.evaluation.files import plain
from semla_ros.evaluation.page import write_page
from semla_ros.evaluation.run import versions
from semla_ros.evaluation.table import shown
from semla_ros.processes.drive import require_ros
from semla_ros.processes.live import play_live

logger = logging.getLogger(__name__)

SECONDS = 120.0
FPS = 10.0


@dataclass(frozen=True, slots=True)
class Showcase:
    """What the demo made: the page, and one paragraph of what it shows."""

    page: Path
    shows: str


def run(
    out: Path, *, seconds: float = SECONDS, fps: float = FPS, bundle: Path | None = None
) -> Showcase:
    """Return the demo's page after driving; `out` holds it, `summary.json` and `drive.mcap`.

    Raises:
        EngineUnavailableError: ROS 2 or the interfaces are missing.
        SemlaError: The node or the camera failed.
    """
    require_ros()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="semla-demo-") as scratch:
        folder = Path(scratch)
        footage = render_footage(folder / "camera.mcap", demo_drive(seconds=seconds, fps=fps))
        live = play_live(
            footage.camera,
            out / "drive.mcap",
            seconds=footage.seconds,
            changes={"bundle": str(bundle)} if bundle else {},
        )
        answers = read_answers(live)
        score = score_drive(footage, live, answers, bundle=bundle)
    summary = plain(_summary(footage, answers, score, fps=fps))
    text = json.dumps(summary, indent=2, allow_nan=False)
    (out / "summary.json").write_text(text + "\n", encoding="utf-8")
    write_page(out / "index.html", showcase_page(footage, answers, score, summary))
    return Showcase(out / "index.html", _shows(answers, score))


def _summary(
    footage: Footage, answers: Answers, score: DriveScore, *, fps: float
) -> dict[str, Any]:
    swaps = answers.swaps
    return {
        "drive": {"seconds": footage.seconds, "fps": fps, "frames": len(footage.frames)},
        "frames": {
            "sent": score.sent,
            "received": score.received,
            "dropped": score.sent - score.received,
        },
        "swaps": {
            "committed": sum(s.committed for s in swaps),
            "failed": sum(not s.committed for s in swaps),
            "events": [_event(s) for s in swaps],
        },
        "latency_ms": dict(score.latency_ms),
        "miou": {
            "domains": score.domains,
            "h_mean": {"without": score.without, "adapted": score.adapted},
        },
        "support": {name: d.support for name, d in score.domains.items()},
        "versions": versions(),
    }


def _event(swap: Any) -> dict[str, Any]:  # noqa: ANN401
    times = ("detection_ms", "fuse_ms", "load_ms", "stall_ms")
    return {
        "stamp_ns": swap.stamp_ns,
        "from": swap.from_mix.identity,
        "to": swap.to_mix.identity,
        "reason": swap.reason,
        "committed": swap.committed,
        "error": swap.error,
        **{name: round(getattr(swap, name), 3) for name in times},
    }


def _shows(answers: Answers, score: DriveScore) -> str:
    committed = [s for s in answers.swaps if s.committed]
    p50, p99 = score.latency_ms["p50"], score.latency_ms["p99"]
    return (
        f"{len(score.domains)} kinds of weather, {len(committed)} adapter swaps, "
        f"{score.sent - score.received} of {score.sent} frames lost; mIoU (h-mean over weather) "
        f"{shown(score.without, 1)} % without adaptation, {shown(score.adapted, 1)} % with it; "
        f"image to mask {p50:.0f} ms (p50), {p99:.0f} ms (p99)"
    )
