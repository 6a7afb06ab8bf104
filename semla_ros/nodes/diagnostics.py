"""What /diagnostics says: rates, ages, latencies, drops, errors, adapters, support, memory."""

from __future__ import annotations

import math
import resource
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from semla_ros.core.config import Config
from semla_ros.engine.contract import BUILDING
from semla_ros.nodes.statistics import FrameValues
from semla_ros.nodes.stream import StreamReport
from semla_ros.nodes.verdicts import of_adapters, of_capture, of_errors, of_losses
from semla_ros.pipeline.health import PipelineHealth

SWAP_PATIENCE_S = 20.0
"""A swap that takes longer hangs: it is far more than any in docs/performance.md takes."""

_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one round of diagnostics is made from.

    Attributes:
        node: Name of the node, the statuses' prefix and hardware id.
        state: Lifecycle state.
        problem: Why the node is not configured, empty otherwise.
        ignored: Unknown parameters, with the reason.
        surroundings: What is wrong around the node, see `Surroundings`.
        config: Settings in force.
        stream: How images come and are worked on; of nothing while the node is not active.
        model: How the pipeline is; of nothing while the node is not configured.
        values: Numbers of the stream.
    """

    node: str
    state: str
    problem: str
    ignored: Mapping[str, str]
    surroundings: Sequence[str]
    config: Config
    stream: StreamReport
    model: PipelineHealth
    values: FrameValues = field(repr=False)


def statuses(snapshot: Snapshot) -> list[DiagnosticStatus]:
    """Return one status each for node, image, inference, adapters, support and capture."""
    return [
        _node(snapshot),
        _image(snapshot),
        _inference(snapshot),
        _adapters(snapshot),
        _support(snapshot),
        _status(snapshot, "capture", *of_capture(snapshot.stream.capture)),
    ]


def _node(now: Snapshot) -> DiagnosticStatus:
    level, message = DiagnosticStatus.OK, now.state
    if now.ignored or now.surroundings:
        level = DiagnosticStatus.WARN
        message = "; ".join((*now.surroundings, *now.ignored.values()))
    if now.problem:
        level, message = DiagnosticStatus.ERROR, now.problem
    return _status(
        now,
        "node",
        level,
        message,
        {
            "state": now.state,
            "unknown_parameters": len(now.ignored),
            "rss_mib": f"{resident_bytes() / 2**20:.1f}",
            "threads": threading.active_count(),
        },
    )


def _image(now: Snapshot) -> DiagnosticStatus:
    values, stream, stamps = now.values, now.stream, now.model.stamps
    level, message = DiagnosticStatus.OK, "receiving"
    timeout_s = now.config.stale_timeout_s
    arriving = values.since_last_s is not None and values.since_last_s <= timeout_s
    if now.state != "active":
        message = "not active"
    elif stream.stale and arriving and not _hangs(now):
        level = DiagnosticStatus.ERROR
        message = f"images arrive on {stream.topic}, none was usable for {timeout_s:g} s"
    elif stream.stale and not arriving:
        seen = "no image yet" if values.since_last_s is None else "no image"
        level = DiagnosticStatus.ERROR
        message = (
            f"{seen} for over {timeout_s:g} s on {stream.topic} "
            f"(publishers: {stream.publishers}, incompatible QoS: {stream.incompatible})"
        )
    elif values.since_last_s is None:
        level, message = DiagnosticStatus.WARN, f"waiting for the first image on {stream.topic}"
    elif stamps.unusable:
        level, message = DiagnosticStatus.WARN, f"{stamps.unusable}: arrival time is used"
    lossy = of_losses(stream.losses)
    if now.state == "active" and lossy:
        level, message = max(level, DiagnosticStatus.WARN), f"{message}; {lossy}"
    worker = stream.worker
    return _status(
        now,
        "image",
        level,
        message,
        {
            "image_rate_hz": f"{values.rate_hz:.2f}",
            "since_last_image_s": _number(values.since_last_s),
            "image_age_p50_s": _number(values.age_p50_s, digits=4),
            "image_age_p95_s": _number(values.age_p95_s, digits=4),
            "dropped": worker.dropped if worker else 0,
            "lost_in_transport": stream.losses.lost,
            "lost_share": f"{stream.losses.share:.3f}",
            "publishers": stream.publishers,
            "incompatible_publishers": stream.incompatible,
            "stamps": "arrival" if stamps.unusable else "header",
            "stamps_late": stamps.late,
            "stamps_doubtful": stamps.doubtful,
            "stream_restarts": stamps.restarts,
            "frames_by_arrival": stamps.by_arrival,
        },
    )


def _inference(now: Snapshot) -> DiagnosticStatus:
    worker, values, model = now.stream.worker, now.values, now.model
    engine = model.engine
    level, message = _engine(now)
    if worker and (verdict := of_errors(worker)):
        level, message = verdict
    if worker and _hangs(now):
        level = DiagnosticStatus.ERROR
        message = (
            f"one frame has been in the network for {worker.busy_s:.1f} s: it hangs, or is slower "
            "than stale_timeout_s; restart the node if it stays so"
        )
    counts = {f"errors.{kind}": n for kind, n in sorted(worker.errors.items())} if worker else {}
    counts |= {f"stage_errors.{stage}": n for stage, n in sorted(model.errors.items())}
    return _status(
        now,
        "inference",
        level,
        message,
        {
            "backend": engine.serving if engine else "",
            "precision": model.precision,
            "backend_reason": model.engine_reason,
            "engine_state": engine.state if engine else "",
            "engine_detail": engine.detail if engine else "",
            "frames": worker.processed if worker else 0,
            "recent_frames": worker.recent if worker else 0,
            "recent_errors": worker.recent_errors if worker else 0,
            "busy_s": _number(worker.busy_s) if worker else "",
            "processing_p50_s": _number(values.processing_p50_s, digits=4),
            "processing_p95_s": _number(values.processing_p95_s, digits=4),
            "last_error": worker.last_error if worker else "",
            **counts,
        },
    )


def _hangs(now: Snapshot) -> bool:
    """Return whether the frame in hand takes longer than the camera may be silent."""
    worker = now.stream.worker
    return worker is not None and worker.busy_s > now.config.stale_timeout_s


def _engine(now: Snapshot) -> tuple[bytes, str]:
    """Return level and message of the engine alone."""
    engine = now.model.engine
    if engine is None:
        return DiagnosticStatus.OK, "no engine"
    if engine.state == BUILDING:
        return DiagnosticStatus.WARN, f"building, {engine.serving} serves: {engine.detail}"
    return DiagnosticStatus.OK, engine.serving


def _adapters(now: Snapshot) -> DiagnosticStatus:
    model = now.model
    level, message = of_adapters(model, swap_error=now.values.last_swap_error)
    if model.swap_pending_s > SWAP_PATIENCE_S:
        level = DiagnosticStatus.ERROR
        message = (
            f"one swap has been under way for {model.swap_pending_s:.0f} s: {model.mix} serves "
            "meanwhile"
        )
    return _status(
        now,
        "adapters",
        level,
        message,
        {
            "mix": model.mix,
            "adapters": model.adapters,
            "unusable": len(model.unusable),
            "unsealed": f"{len(model.unsealed)} {', '.join(model.unsealed)}".strip(),
            "unusable_retried": ",".join(model.retried),
            "unknown_excluded": ",".join(model.unknown_excluded),
            "swaps": now.values.swaps,
            "failed_swaps": now.values.failed_swaps,
            "swap_pending_s": _number(model.swap_pending_s),
        },
    )


def _support(now: Snapshot) -> DiagnosticStatus:
    levels = {
        "LOW": DiagnosticStatus.WARN,
        "OUT_OF_LIBRARY": DiagnosticStatus.ERROR,
        "STALE": DiagnosticStatus.STALE,
    }
    message = name = now.values.level or "unknown"
    level, model = levels.get(name, DiagnosticStatus.OK), now.model
    if model.navigator_pending_s > now.config.support_max_age_s:
        level = DiagnosticStatus.ERROR
        message = (
            f"{name}: the navigator has been at one frame for {model.navigator_pending_s:.1f} s: "
            "it hangs, or needs a larger support_max_age_s; restart the node if it stays so"
        )
    elif model.navigator_error:
        level = max(level, DiagnosticStatus.WARN)
        if name in ("STALE", "unknown"):
            level = DiagnosticStatus.ERROR
        message = f"{name}: the navigator fails: {model.navigator_error}"
    elif model.no_alarm:
        level, message = max(level, DiagnosticStatus.WARN), f"{name}; {model.no_alarm}"
    facts = {
        "level": name,
        "smoothed_score": _number(now.values.score),
        "age_s": _number(now.values.support_age_s),
        "navigator_pending_s": _number(model.navigator_pending_s),
    }
    return _status(now, "support", level, message, facts)


def _status(
    now: Snapshot, part: str, level: bytes, message: str, facts: Mapping[str, object]
) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=level,
        name=f"{now.node}: {part}",
        message=message,
        hardware_id=now.node,
        values=[KeyValue(key=k, value=str(v)) for k, v in facts.items()],
    )


def resident_bytes() -> float:
    """Return the resident memory of this process in bytes, NaN where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return math.nan
    return pages * float(_PAGE_BYTES)


def _number(value: float | None, *, digits: int = 2) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"
