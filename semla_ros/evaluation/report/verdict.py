"""The verdict in words, each sentence with its number."""

from __future__ import annotations

import math

import numpy as np

from semla_ros.evaluation.analysis.calibration import CalibrationReport
from semla_ros.evaluation.analysis.frames import OUT_OF_LIBRARY
from semla_ros.evaluation.analysis.gain import Gain
from semla_ros.evaluation.report.findings import Findings, swaps_saved
from semla_ros.evaluation.study.study import SEMLA, UNIFORM, ZERO_SHOT, Study

USEFUL_AUROC = 0.7
COVERAGE_SLACK = 0.05
FEW_DOMAINS = 4
MOSTLY_OUT = 0.5


def verdict(study: Study, found: Findings) -> tuple[str, ...]:
    """Return the verdict, the most important sentence first."""
    lines = [
        *_adaptation(found),
        *_gate(study, found),
        *_support(found),
        *_library(found),
    ]
    if not study.complete:
        broken = [r.name for r in study.recordings if r.ended_early]
        lines.append(f"Some recordings ended early and count only in part: {_listed(broken)}.")
    return tuple(lines)


def _adaptation(found: Findings) -> list[str]:
    if not found.scored:
        return ["No frame has ground truth: whether adaptation helps here was not measured."]
    lines = []
    base = found.gain_over(ZERO_SHOT)
    if base is not None:
        lines.append(_gain_sentence(base, "Adaptation", "no adaptation"))
        if base.worse:
            lines.append(f"It loses on {_listed(base.worse)}.")
    uniform = found.gain_over(UNIFORM)
    if uniform is not None:
        lines.append(_gain_sentence(uniform, "Choosing adapters", "mixing all of them alike"))
    return lines


def _gain_sentence(gain: Gain, subject: str, what: str) -> str:
    if not math.isfinite(gain.points):
        return f"{gain.strategy} could not be compared with {what}."
    interval = (
        f"{gain.points:+.1f} points h-mean (95 % interval {gain.low:+.1f} to {gain.high:+.1f})"
    )
    if gain.low > 0:
        return f"{subject} helps: {gain.strategy} is {interval} ahead of {what}."
    if gain.high < 0:
        return f"{subject} hurts: {gain.strategy} is {interval} against {what}."
    return f"No clear difference between {gain.strategy} and {what}: {interval}."


def _gate(study: Study, found: Findings) -> list[str]:
    per_frame = found.gain_over(SEMLA)
    if per_frame is None or not math.isfinite(per_frame.points):
        return []
    saved = swaps_saved(study)
    fewer = f" for {saved:.0f} times fewer swaps" if saved is not None and saved >= 2 else ""
    return [
        f"Filter and debounce change mIoU by {per_frame.points:+.1f} points (interval "
        f"{per_frame.low:+.1f} to {per_frame.high:+.1f}) against choosing anew on every frame"
        f"{fewer}."
    ]


def _support(found: Findings) -> list[str]:
    lines = [f"Not judged: {why.rstrip('.')}." for why in found.missing if found.scored]
    if found.calibration is not None:
        lines.append(_coverage(found.calibration))
    for bad in found.bad:
        support, confidence = bad.auroc["support"], bad.auroc["confidence"]
        if math.isnan(support):
            continue
        word = "finds" if support >= USEFUL_AUROC else "hardly finds"
        word = "points the wrong way (worse than chance) for" if support < 0.5 else word
        against = "".join(
            f"; {name}: {value:.2f}"
            for name, value in (
                ("the mask's own confidence", confidence),
                ("the expected mIoU", bad.auroc["expected"]),
            )
            if not math.isnan(value)
        )
        lines.append(
            f"Support {word} masks below {100 * bad.threshold:.0f} % mIoU (AUROC {support:.2f}"
            f"{against})."
        )
    return lines


def _coverage(report: CalibrationReport) -> str:
    worst = report.worst
    numbers = (
        f"on domains it was not made with, the lower bound held for {100 * report.coverage:.0f} % "
        f"of frames (target {100 * report.target:.0f} %), worst {worst.domain} with "
        f"{100 * worst.coverage:.0f} %"
    )
    errs = f"The expected mIoU errs by {100 * report.error:.1f} points"
    if report.refusal:
        return f"{errs} and is not worth publishing: {report.refusal}; {numbers}."
    if report.coverage < report.target - COVERAGE_SLACK:
        return f"{errs}, but its bound does not hold: {numbers}."
    if worst.coverage < report.target - 2 * COVERAGE_SLACK:
        return f"{errs}; its bound holds on average, not everywhere: {numbers}."
    if len(report.held_out) < FEW_DOMAINS:
        return f"{errs}; its bound holds on the few domains seen here: {numbers}."
    return f"The promise can be trusted: {errs[0].lower()}{errs[1:]}; {numbers}."


def _library(found: Findings) -> list[str]:
    known = found.table.level != ""
    if not known.any():
        return []
    out = found.table.level[known] == OUT_OF_LIBRARY
    if not out.any():
        return ["No frame was out of the library."]
    domains, frames = np.unique(found.table.domain[known][out], return_counts=True)
    most = [str(d) for d in domains[np.argsort(-frames, kind="stable")][:3]]
    words = f"{100 * out.mean():.0f} % of frames are out of the library"
    if out.mean() > MOSTLY_OUT:
        return [
            f"{words}: it does not know this place. Serve the base here (select_adapters), or "
            "train and embed adapters from the gaps below."
        ]
    return [f"{words}, most of them {_listed(most)}."]


def _listed(names: tuple[str, ...] | list[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
