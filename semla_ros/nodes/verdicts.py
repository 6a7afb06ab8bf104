"""What the diagnostics make of counters: how bad it is, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus

from semla_ros.nodes.capture import FAILING, CaptureReport
from semla_ros.nodes.transport_loss import LossReport
from semla_ros.nodes.worker import WorkerReport
from semla_ros.pipeline.adapter_access import by_reason
from semla_ros.pipeline.health import PipelineHealth

ERROR_AFTER = 5
"""Errors in a row from which the inference is reported as ERROR instead of WARN."""

ENOUGH = 10
"""Images from which on the share of failures among the newest ones is judged."""

WARN_SHARE, ERROR_SHARE = 0.1, 0.4
"""Share of failures among the newest images that is reported as WARN, and as ERROR.

Where every second image is broken, a few less than half of those that are taken are.
"""

LOSSY, LOSSY_SHARE = 3, 0.05
"""Lost images, and their share, that are reported as WARN."""


def of_errors(worker: WorkerReport) -> tuple[bytes, str] | None:
    """Return level and message where images fail, in a row or every now and then, else None."""
    share = worker.recent_errors / worker.recent if worker.recent >= ENOUGH else 0.0
    if not worker.consecutive_errors and share < WARN_SHARE:
        return None
    failing = worker.consecutive_errors >= ERROR_AFTER or share >= ERROR_SHARE
    level = DiagnosticStatus.ERROR if failing else DiagnosticStatus.WARN
    told = f"{worker.consecutive_errors} errors in a row"
    if share >= WARN_SHARE:
        told = f"{share:.0%} of the last {worker.recent} images failed, {told}"
    return level, f"{told}: {worker.last_error}"


def of_losses(losses: LossReport) -> str:
    """Return what to say of images that never came, empty while they are few."""
    if losses.recent < LOSSY or losses.share < LOSSY_SHARE:
        return ""
    return (
        f"{losses.share:.0%} of the images published lately were lost on the way: give the "
        "camera's process config/fastdds_large_images.xml, too, or the machine less to do"
    )


def of_adapters(model: PipelineHealth, *, swap_error: str) -> tuple[bytes, str]:
    """Return level and message of the adapters: everything that is wrong with them, else the mix.

    Args:
        model: How the pipeline is.
        swap_error: Why the newest swap failed, empty if it did not.
    """
    wrong = []
    if model.unusable:
        wrong.append(f"unusable: {by_reason(model.unusable)}")
    if model.unknown_excluded:
        names = ", ".join(model.unknown_excluded)
        wrong.append(f"excluded and not in the library: {names}: correct `exclude`")
    if swap_error:
        wrong.append(f"swap failed: {swap_error}")
    if not wrong:
        return DiagnosticStatus.OK, model.mix or "none"
    return DiagnosticStatus.WARN, " | ".join(wrong)


def of_capture(report: CaptureReport) -> tuple[bytes, str, Mapping[str, object]]:
    """Return level, message and facts of what is kept of frames without support."""
    failing = report.state == FAILING
    level = DiagnosticStatus.WARN if failing else DiagnosticStatus.OK
    facts = {
        "folder": report.folder,
        "frames": report.frames,
        "size_mib": f"{report.nbytes / 2**20:.1f}",
        "limit_mib": f"{report.max_bytes / 2**20:.1f}",
        "kept": report.kept,
        "alike": report.alike,
        "failed": report.failed,
    }
    return level, f"{report.state}: {report.detail}" if failing else report.state, facts
