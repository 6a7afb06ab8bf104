"""What the demo model's support score promises: calibrated and tested on drives it has not seen.

`python -m semla_ros.demo.model.promise` repeats this stage alone, without torch.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from semla_ros.bundle import AdaptationDefaults, ModelBundle, open_bundle, reseal
from semla_ros.config import Config
from semla_ros.demo.model.drives import drive_study, tours, unknown_weather
from semla_ros.evaluation.analysis.association import Association, associations
from semla_ros.evaluation.analysis.calibration import (
    CalibrationReport,
    calibrate,
    held_coverage,
)
from semla_ros.evaluation.analysis.detection import BadMasks, bad_masks, family_patterns
from semla_ros.evaluation.analysis.families import FamilyAlarm, family_alarms
from semla_ros.evaluation.analysis.frames import FrameTable, frame_table
from semla_ros.evaluation.analysis.rerun import bundle_library
from semla_ros.evaluation.study.record import Study
from semla_ros.library.retrieval import RetrievalSettings
from semla_ros.pipeline.settings import LiveSettings, bank_of
from semla_ros.support_calibration import SupportCalibration, SupportSettings

COMMAND = "scripts/calibrate_demo_model"
FIGURES = "promise.json"
BEGIN, END = "<!-- promise -->", "<!-- end of promise -->"
BAD = (0.3, 0.4)


@dataclass(frozen=True, slots=True)
class PromiseRecipe:
    """Seeds and lengths of the drives; no street of one set appears in another.

    Attributes:
        tour_seed, unknown_seed: First seeds of the drives that calibrate.
        fresh_tour_seed, fresh_unknown_seed: First seeds of the drives that only test.
        tours, unknown: Number of tours, and of drives in each domain without its adapter.
        fresh_tours, fresh_unknown: The same for the test.
        stage_s, drive_s: Seconds a tour spends in each domain; seconds of the other drives.
    """

    tour_seed: int = 7_000_000
    unknown_seed: int = 7_100_000
    fresh_tour_seed: int = 7_500_000
    fresh_unknown_seed: int = 7_600_000
    tours: int = 4
    unknown: int = 3
    fresh_tours: int = 2
    fresh_unknown: int = 1
    stage_s: float = 10.0
    drive_s: float = 8.0


@dataclass(frozen=True, slots=True)
class Promise:
    """Everything measured about the support score.

    Attributes:
        calibration: What the bundle stores.
        report: How it did on held-out domains.
        fresh: Drive kind -> (coverage of the stored bound, frames it promised something for,
            frames) on drives that only test.
        associations, bad: On the drives that calibrate.
        families: The alarm with whole families taken out of the library.
    """

    calibration: SupportCalibration
    report: CalibrationReport
    fresh: Mapping[str, tuple[float, int, int]]
    associations: tuple[Association, ...]
    bad: tuple[BadMasks, ...]
    families: tuple[FamilyAlarm, ...]


def make_promise(
    bundle: ModelBundle, recipe: PromiseRecipe | None = None, *, threads: int = 2
) -> Promise:
    """Return the calibration of a demo bundle and what it is worth.

    Raises:
        SemlaError: The bundle does not run, or the extra `evaluate` is missing.
    """
    chosen = recipe or PromiseRecipe()
    known = drive_study(
        bundle,
        tours(chosen.tour_seed, count=chosen.tours, seconds=chosen.stage_s),
        threads=threads,
    )
    unknown = drive_study(
        bundle,
        unknown_weather(chosen.unknown_seed, count=chosen.unknown, seconds=chosen.drive_s),
        threads=threads,
    )
    table = frame_table((known, unknown))
    report = calibrate(table)
    calibration = report.stored(_settings(bundle.manifest.defaults), made_by=COMMAND)
    return Promise(
        calibration=calibration,
        report=report,
        fresh=_fresh(bundle, calibration, chosen, threads=threads),
        associations=associations(table),
        bad=tuple(bad_masks(table, threshold) for threshold in BAD),
        families=_families(bundle, unknown),
    )


def store_promise(bundle: ModelBundle, promise: Promise) -> ModelBundle:
    """Return the bundle with the calibration in its manifest, figures and card beside it.

    Raises:
        BundleError: The bundle folder cannot be written.
    """
    (bundle.root / FIGURES).write_text(
        json.dumps(_plain(promise), indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )
    card = bundle.root / "MODEL_CARD.md"
    if card.is_file():
        text = card.read_text(encoding="utf-8")
        card.write_text(with_section(text, promise_section(promise)), encoding="utf-8")
    defaults = replace(bundle.manifest.defaults, calibration=promise.calibration)
    return reseal(bundle, defaults=defaults)


def with_section(card: str, section: str) -> str:
    """Return the card with `section` in place of the old one, else at its end."""
    block = f"{BEGIN}\n{section}\n{END}\n"
    before, begin, rest = card.partition(BEGIN)
    if not begin:
        return f"{card.rstrip()}\n\n{block}"
    return before + block + rest.partition(END)[2].lstrip("\n")


def promise_section(promise: Promise) -> str:
    """Return what the card says about support."""
    report, calibration = promise.report, promise.calibration
    worst = report.worst
    fresh = "\n".join(
        f"| {kind} | {frames} | {100 * promised / frames:.0f} % | {100 * covered:.1f} % |"
        for kind, (covered, promised, frames) in promise.fresh.items()
    )
    signals = "\n".join(
        f"| {a.signal.replace('_', ' ')} | {a.spearman:.2f} | {a.within_domains:.2f} | "
        + " | ".join(f"{b.auroc[a.signal]:.2f}" for b in promise.bad)
        + " |"
        for a in promise.associations
    )
    return f"""## What the support score promises
The node publishes `expected_miou` (isotonic map of the smoothed support) and `miou_lower` (the
map minus {calibration.offset:.3f}), made on {report.frames} frames of drives with seeds of
their own: tours through every domain with the whole library, and drives in each domain without its
adapter. Frames OUT_OF_LIBRARY get no promise (`miou_lower` 0).

- **Coverage** of the lower bound on domains held out of map and offset:
  mean {100 * report.coverage:.1f} % (target {100 * report.target:.0f} %),
  worst {worst.domain} with {100 * worst.coverage:.1f} %.
- Mean absolute error of the expected mIoU on held-out domains: {100 * report.error:.1f} points;
  the plain mean of the other domains, support unseen, errs by {100 * report.constant_error:.1f}.

On drives that had no part in any choice:

| drives | frames | with a promise | bound holds |
|---|---|---|---|
{fresh}

How signals follow a frame's mIoU, and find masks below a mIoU (AUROC; 0.5 is no use):

| signal | Spearman | within a domain | {" | ".join(f"below {100 * t:.0f} %" for t in BAD)} |
|---|---|---|{"---|" * len(BAD)}
{signals}

The alarm, with whole families of domains taken out of the library (drives in settled weather,
single frames, no filter):
true positives at 1 % false alarms, and what the library's own threshold of novelty gives.

| unknown | novelty | nearest distance | support | library's threshold: found | false alarms |
|---|---|---|---|---|---|
{_family_rows(promise.families)}

Reproduce: `{COMMAND}`."""


def _family_rows(found: Sequence[FamilyAlarm]) -> str:
    rows = []
    for each in found:
        tpr = {a.signal: a.tpr for a in each.alarms}
        cells = [f"{100 * tpr[s]:.0f} %" for s in ("novelty", "nearest_distance", "support")]
        cells += [f"{100 * each.found:.0f} %", f"{100 * each.false_alarms:.0f} %"]
        rows.append(f"| {each.family.strip('*')} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _fresh(
    bundle: ModelBundle, calibration: SupportCalibration, recipe: PromiseRecipe, *, threads: int
) -> dict[str, tuple[float, int, int]]:
    sets = {
        "whole library": tours(
            recipe.fresh_tour_seed, count=recipe.fresh_tours, seconds=recipe.stage_s
        ),
        "own adapter missing": unknown_weather(
            recipe.fresh_unknown_seed, count=recipe.fresh_unknown, seconds=recipe.drive_s
        ),
    }
    found = {}
    for kind, routes in sets.items():
        table: FrameTable = frame_table((drive_study(bundle, routes, threads=threads),))
        found[kind] = (held_coverage(calibration, table), len(table.promised), len(table.judged))
    return found


def _families(bundle: ModelBundle, settled: Study) -> tuple[FamilyAlarm, ...]:
    library, defaults = bundle_library(bundle), bundle.manifest.defaults
    settings = RetrievalSettings(
        defaults.temperature, defaults.top_k, defaults.similarity, defaults.null_distance
    )
    bank = bank_of(library, distance=defaults.distance)
    return family_alarms(
        settled,
        bank,
        settings=settings,
        distance=defaults.distance,
        out_of_library=LiveSettings.of(Config(), defaults).threshold(bank.alarm),
        patterns=family_patterns(library.names),
    )


def _settings(defaults: AdaptationDefaults) -> SupportSettings:
    return SupportSettings(
        temperature=defaults.temperature,
        top_k=defaults.top_k,
        distance=defaults.distance,
        similarity=defaults.similarity,
        null_distance=defaults.null_distance,
    )


def _plain(promise: Promise) -> dict[str, Any]:
    report = promise.report
    data = {
        "offset": report.offset,
        "target": report.target,
        "coverage": report.coverage,
        "error": report.error,
        "constant_error": report.constant_error,
        "frames": report.frames,
        "held_out": [asdict(h) for h in report.held_out],
        "fresh": {k: list(v) for k, v in promise.fresh.items()},
        "associations": [asdict(a) for a in promise.associations],
        "bad_masks": [asdict(b) for b in promise.bad],
        "families": [asdict(f) for f in promise.families],
    }
    rounded: dict[str, Any] = _rounded(data)
    return rounded


def _rounded(value: Any) -> Any:  # noqa: ANN401  plain data
    """Return `value` with floats to 5 digits and None for what is not finite."""
    if isinstance(value, (float, np.floating)):
        return round(float(value), 5) if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(v) for v in value]
    return value


def main(argv: Sequence[str] | None = None) -> None:
    """Calibrate the bundle that the arguments name, in place."""
    parser = argparse.ArgumentParser(description="Calibrate the demo bundle's support score.")
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    bundle = open_bundle(options.bundle)
    store_promise(bundle, make_promise(bundle, threads=options.threads))


if __name__ == "__main__":
    main()
