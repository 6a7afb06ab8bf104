"""What the model card says about the support score and the promise, from what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semla_ros.core.support_calibration import SupportCalibration
from semla_ros.demo.model.contest import Contender, contest_table
from semla_ros.evaluation.analysis.calibration import CalibrationReport, Kept
from semla_ros.evaluation.analysis.detection import Association, BadMasks
from semla_ros.evaluation.analysis.families import FamilyAlarm

COMMAND = "scripts/calibrate_demo_model"
BEGIN, END = "<!-- promise -->", "<!-- end of promise -->"


@dataclass(frozen=True, slots=True)
class Promise:
    """Everything measured about support score and promise.

    Attributes:
        report: How the calibration did on held-out domains.
        sets: Sets of drives that calibrate.
        calibration: What the bundle stores; None where it is not worth publishing.
        contenders: What lines through other signals would do.
        fresh: Drive kind -> how the stored calibration does on drives that only test.
        associations, bad: On the drives that calibrate.
        families: The alarm with whole families taken out of the library.
    """

    report: CalibrationReport
    sets: int
    calibration: SupportCalibration | None
    contenders: tuple[Contender, ...]
    fresh: Mapping[str, Kept]
    associations: tuple[Association, ...]
    bad: tuple[BadMasks, ...]
    families: tuple[FamilyAlarm, ...]


def with_section(card: str, section: str) -> str:
    """Return the card with `section` in place of the old one, else at its end."""
    block = f"{BEGIN}\n{section}\n{END}\n"
    before, begin, rest = card.partition(BEGIN)
    if not begin:
        return f"{card.rstrip()}\n\n{block}"
    return before + block + rest.partition(END)[2].lstrip("\n")


def promise_section(promise: Promise) -> str:
    """Return what the card says about support and promise."""
    bad = [b.threshold for b in promise.bad]
    signals = "\n".join(
        f"| {a.signal.replace('_', ' ')} | {a.spearman:.2f} | {a.within_domains:.2f} | "
        + " | ".join(f"{b.auroc[a.signal]:.2f}" for b in promise.bad)
        + " |"
        for a in promise.associations
    )
    return f"""## What the support score promises
{_worth(promise)}

Straight lines through other signals, each frame judged by a line that has seen neither its domain
nor its set of drives; mean ± standard deviation over {promise.sets} sets of drives:

{contest_table(promise.contenders)}

How signals follow a frame's mIoU, and find masks below a mIoU (AUROC; 0.5 is no use), over all
frames; "expected" is the promise without the frame's own domain, frames OUT_OF_LIBRARY left out:

| signal | Spearman | within a domain | {" | ".join(f"below {100 * t:.0f} %" for t in bad)} |
|---|---|---|{"---|" * len(bad)}
{signals}

The alarm, with whole families of domains taken out of the library (drives in settled weather,
single frames, no filter):
true positives at 1 % false alarms, and what the library's own threshold of novelty gives.

| unknown | novelty | nearest distance | support | library's threshold: found | false alarms |
|---|---|---|---|---|---|
{_family_rows(promise.families)}

Reproduce: `{COMMAND}`."""


def _worth(promise: Promise) -> str:
    """Return what is published, and how it did on unseen domains and fresh drives."""
    report, calibration = promise.report, promise.calibration
    if calibration is None:
        return (
            f"`expected_miou` and `miou_lower` are NaN: the promise made on {report.frames} "
            f"frames is not worth publishing ({report.refusal})."
        )
    fresh = "\n".join(
        f"| {kind} | {k.frames} | {100 * k.promised / k.frames:.0f} % | "
        f"{100 * k.coverage:.1f} % | {100 * k.error:.1f} |"
        for kind, k in promise.fresh.items()
    )
    rivals = ", ".join(f"{name} {100 * e:.1f}" for name, e in report.errors.items())
    return f"""The node publishes `expected_miou`, a straight line through four signals of the mask
itself (mean confidence over pixels and over classes, entropy and number of its classes), and
`miou_lower`, that minus {calibration.offset:.3f}; the support score (Eq. 15) stands beside them as
it is. Made on {report.frames} frames of drives with seeds of their own: tours with the whole
library, drives without the domain's own adapter and without its whole family. Frames
OUT_OF_LIBRARY and masks unlike those of the fit get no promise (`miou_lower` 0).

- **Error** of the expected mIoU on domains held out: {100 * report.error:.1f} points
  ({rivals}).
- **Coverage** of the lower bound on domains held out of line and offset:
  mean {100 * report.coverage:.1f} % (target {100 * report.target:.0f} %),
  worst {report.worst.domain} with {100 * report.worst.coverage:.1f} %.

On drives that had no part in any choice:

| drives | frames | with a promise | bound holds | error, points |
|---|---|---|---|---|
{fresh}"""


def _family_rows(found: Sequence[FamilyAlarm]) -> str:
    rows = []
    for each in found:
        tpr = {a.signal: a.tpr for a in each.alarms}
        cells = [f"{100 * tpr[s]:.0f} %" for s in ("novelty", "nearest_distance", "support")]
        cells += [f"{100 * each.found:.0f} %", f"{100 * each.false_alarms:.0f} %"]
        rows.append(f"| {each.family.strip('*')} | " + " | ".join(cells) + " |")
    return "\n".join(rows)
