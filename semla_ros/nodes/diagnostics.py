"""What /diagnostics says: rates, ages, latencies, drops, errors, adapters, support, memory."""

from __future__ import annotations

import math
import resource
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from semla_ros.engine.contract import BUILDING, EngineStatus
from semla_ros.nodes.statistics import FrameValues
from semla_ros.nodes.transport_loss import LossReport
from semla_ros.nodes.verdicts import of_adapters, of_errors, of_losses
from semla_ros.nodes.worker import WorkerReport
from semla_ros.pipeline.clock import StampReport
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
        stale: The camera stalled.
        stale_timeout_s: After how long that is.
        publishers, incompatible: Publishers of the image topic; of these, seen with other QoS.
        topic: The image topic, resolved.
        backend: The engine that serves, empty if none.
        precision, backend_reason: What it multiplies in; why it was taken.
        engine: How it is, None without one.
        mix: Identity of the active mix.
        library: How many adapters serve.
        losses: Images that never came.
        worker: The worker's counters, None while there is none.
        errors: Stage of the pipeline -> how often it failed.
        health: What could keep the pipeline from adapting, None without one.
        support_max_age_s: From which age on an observation supports nothing.
        values: Numbers of the stream.
        unsealed: Adapters that serve and whose bytes nobody has vouched for.
        surroundings: What is wrong around the node, see `Surroundings`.
    """

    node: str
    state: str
    problem: str
    ignored: Mapping[str, str]
    stale: bool
    stale_timeout_s: float
    publishers: int
    incompatible: int
    topic: str
    backend: str
    precision: str
    backend_reason: str
    engine: EngineStatus | None
    mix: str
    library: int
    losses: LossReport
    worker: WorkerReport | None
    errors: Mapping[str, int]
    health: PipelineHealth | None
    support_max_age_s: float
    values: FrameValues = field(repr=False)
    unsealed: Sequence[str] = ()
    surroundings: Sequence[str] = ()


def statuses(snapshot: Snapshot) -> list[DiagnosticStatus]:
    """Return one status each for node, image, inference, adapters and support."""
    return [
        _node(snapshot),
        _image(snapshot),
        _inference(snapshot),
        _adapters(snapshot),
        _support(snapshot),
    ]


def _node(now: Snapshot) -> DiagnosticStatus:
    level, message = DiagnosticStatus.OK, now.state
    if now.ignored or now.surroundings:
        level, message = (
            DiagnosticStatus.WARN,
            "; ".join((*now.surroundings, *now.ignored.values())),
        )
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
    values, stamps = now.values, now.health.stamps if now.health else StampReport()
    level, message = DiagnosticStatus.OK, "receiving"
    arriving = values.since_last_s is not None and values.since_last_s <= now.stale_timeout_s
    if now.state != "active":
        message = "not active"
    elif now.stale and arriving and not _hangs(now):
        level = DiagnosticStatus.ERROR
        message = f"images arrive on {now.topic}, none was usable for {now.stale_timeout_s:g} s"
    elif now.stale and not arriving:
        seen = "no image yet" if values.since_last_s is None else "no image"
        level = DiagnosticStatus.ERROR
        message = (
            f"{seen} for over {now.stale_timeout_s:g} s on {now.topic} "
            f"(publishers: {now.publishers}, incompatible QoS: {now.incompatible})"
        )
    elif values.since_last_s is None:
        level, message = DiagnosticStatus.WARN, f"waiting for the first image on {now.topic}"
    elif stamps.unusable:
        level, message = DiagnosticStatus.WARN, f"{stamps.unusable}: arrival time is used"
    lossy = of_losses(now.losses)
    if now.state == "active" and lossy:
        level, message = max(level, DiagnosticStatus.WARN), f"{message}; {lossy}"
    worker = now.worker
    return _status(
        now,
        "image",
        level,
        message,
        {
            "image_rate_hz": f"{values.rate_hz:.2f}",
            "since_last_image_s": _number(values.since_last_s),
            "image_age_p50_ms": _number(values.age_p50_ms),
            "image_age_p95_ms": _number(values.age_p95_ms),
            "dropped": worker.dropped if worker else 0,
            "lost_in_transport": now.losses.lost,
            "lost_share": f"{now.losses.share:.3f}",
            "publishers": now.publishers,
            "incompatible_publishers": now.incompatible,
            "stamps": "arrival" if stamps.unusable else "header",
            "stamps_late": stamps.late,
            "stamps_doubtful": stamps.doubtful,
            "stream_restarts": stamps.restarts,
            "frames_by_arrival": stamps.by_arrival,
        },
    )


def _inference(now: Snapshot) -> DiagnosticStatus:
    worker, values = now.worker, now.values
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
    counts |= {f"stage_errors.{stage}": n for stage, n in sorted(now.errors.items())}
    return _status(
        now,
        "inference",
        level,
        message,
        {
            "backend": now.backend,
            "precision": now.precision,
            "backend_reason": now.backend_reason,
            "engine_state": now.engine.state if now.engine else "",
            "engine_detail": now.engine.detail if now.engine else "",
            "frames": worker.processed if worker else 0,
            "recent_frames": worker.recent if worker else 0,
            "recent_errors": worker.recent_errors if worker else 0,
            "busy_s": _number(worker.busy_s) if worker else "",
            "processing_p50_ms": _number(values.processing_p50_ms),
            "processing_p95_ms": _number(values.processing_p95_ms),
            "last_error": worker.last_error if worker else "",
            **counts,
        },
    )


def _hangs(now: Snapshot) -> bool:
    """Return whether the frame in hand takes longer than the camera may be silent."""
    return now.worker is not None and now.worker.busy_s > now.stale_timeout_s


def _engine(now: Snapshot) -> tuple[bytes, str]:
    """Return level and message of the engine alone."""
    engine = now.engine
    if engine is None:
        return DiagnosticStatus.OK, "no engine"
    if engine.state == BUILDING:
        return DiagnosticStatus.WARN, f"building, {engine.serving} serves: {engine.detail}"
    return DiagnosticStatus.OK, now.backend


def _adapters(now: Snapshot) -> DiagnosticStatus:
    level, message = of_adapters(now.mix, now.health, swap_error=now.values.last_swap_error)
    pending_s = now.health.swap_pending_s if now.health else 0.0
    if pending_s > SWAP_PATIENCE_S:
        level = DiagnosticStatus.ERROR
        message = f"one swap has been under way for {pending_s:.0f} s: {now.mix} serves meanwhile"
    return _status(
        now,
        "adapters",
        level,
        message,
        {
            "mix": now.mix,
            "adapters": now.library,
            "unusable": len(now.health.unusable) if now.health else 0,
            "unsealed": f"{len(now.unsealed)} {', '.join(now.unsealed)}".strip(),
            "unusable_retried": ",".join(now.health.retried) if now.health else "",
            "unknown_excluded": ",".join(now.health.unknown_excluded) if now.health else "",
            "swaps": now.values.swaps,
            "failed_swaps": now.values.failed_swaps,
            "swap_pending_s": _number(pending_s),
        },
    )


def _support(now: Snapshot) -> DiagnosticStatus:
    levels = {
        "LOW": DiagnosticStatus.WARN,
        "OUT_OF_LIBRARY": DiagnosticStatus.ERROR,
        "STALE": DiagnosticStatus.STALE,
    }
    message = name = now.values.level or "unknown"
    level, health = levels.get(name, DiagnosticStatus.OK), now.health
    if health is not None and health.navigator_pending_s > now.support_max_age_s:
        level = DiagnosticStatus.ERROR
        message = (
            f"{name}: the navigator has been at one frame for {health.navigator_pending_s:.1f} s: "
            "it hangs, or needs a larger support_max_age_s; restart the node if it stays so"
        )
    elif health is not None and health.navigator_error:
        level = max(level, DiagnosticStatus.WARN)
        if name in ("STALE", "unknown"):
            level = DiagnosticStatus.ERROR
        message = f"{name}: the navigator fails: {health.navigator_error}"
    elif health is not None and health.no_alarm:
        level, message = max(level, DiagnosticStatus.WARN), f"{name}; {health.no_alarm}"
    facts = {
        "level": name,
        "smoothed_score": _number(now.values.score),
        "age_s": _number(now.values.support_age_s),
        "navigator_pending_s": _number(health.navigator_pending_s if health else None),
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


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2f}"
