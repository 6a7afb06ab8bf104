"""What the demo model's masks promise: calibrated and tested on drives it has not seen.

`python -m semla_ros.demo.model.promise` repeats this stage alone, without torch.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from semla_ros.bundle import AdaptationDefaults, ModelBundle, open_bundle, reseal
from semla_ros.core.config import Config
from semla_ros.core.support_calibration import SupportCalibration, SupportSettings
from semla_ros.demo.model.contest import contest
from semla_ros.demo.model.drives import (
    Route,
    drive_study,
    tours,
    unknown_families,
    unknown_weather,
)
from semla_ros.demo.model.promise_card import COMMAND, Promise, promise_section, with_section
from semla_ros.evaluation.analysis.calibration import Kept, calibrate, kept
from semla_ros.evaluation.analysis.detection import associations, bad_masks, family_patterns
from semla_ros.evaluation.analysis.families import FamilyAlarm, family_alarms
from semla_ros.evaluation.analysis.frames import frame_table
from semla_ros.evaluation.study.study import Study
from semla_ros.library.library import AdapterLibrary
from semla_ros.pipeline.library_view import bank_of
from semla_ros.pipeline.settings import LiveSettings

FIGURES = "promise.json"
BAD = (0.3, 0.4)


@dataclass(frozen=True, slots=True)
class PromiseRecipe:
    """Seeds and lengths of the drives; no street of one set appears in another.

    Attributes:
        seeds: First seed of each set of drives that calibrates.
        fresh_seed: First seed of the set that only tests.
        tours: Drives through every domain with the whole library, in each set.
        unknown: Drives in each domain without its adapter, in each set.
        stage_s, drive_s: Seconds a tour spends in each domain; seconds of the other drives.
    """

    seeds: tuple[int, ...] = (20_000_000, 20_100_000, 20_200_000)
    fresh_seed: int = 20_300_000
    tours: int = 3
    unknown: int = 2
    stage_s: float = 6.0
    drive_s: float = 6.0

    def routes(self, seed: int) -> dict[str, tuple[Route, ...]]:
        """Return the drives of one set by what the library lacks."""
        return {
            "whole library": tours(seed, count=self.tours, seconds=self.stage_s),
            "own adapter missing": unknown_weather(
                seed + 10_000, count=self.unknown, seconds=self.drive_s
            ),
            "family missing": unknown_families(seed + 20_000, seconds=self.drive_s),
        }


def make_promise(
    bundle: ModelBundle, recipe: PromiseRecipe | None = None, *, threads: int = 2
) -> Promise:
    """Return the calibration of a demo bundle and what it is worth.

    Raises:
        SemlaError: The bundle does not run, or the extra `evaluate` is missing.
    """
    chosen = recipe or PromiseRecipe()
    studies = [
        drive_study(bundle, list(chain(*chosen.routes(seed).values())), threads=threads)
        for seed in chosen.seeds
    ]
    table = frame_table(studies)
    sets = np.repeat([str(i) for i in range(len(studies))], [s.frames for s in studies])
    report = calibrate(table)
    calibration = None
    if not report.refusal:
        calibration = report.stored(_settings(bundle.manifest.defaults), made_by=COMMAND)
    table = replace(table, expected=report.expected)
    return Promise(
        report=report,
        sets=len(studies),
        calibration=calibration,
        contenders=contest(table, sets, BAD),
        fresh=_fresh(bundle, calibration, chosen, threads=threads),
        associations=associations(table),
        bad=tuple(bad_masks(table, threshold) for threshold in BAD),
        families=_families(bundle, _settled(studies)),
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
        section = promise_section(promise)
        card.write_text(with_section(text, section), encoding="utf-8")
    defaults = replace(bundle.manifest.defaults, calibration=promise.calibration)
    return reseal(bundle, defaults=defaults)


def _fresh(
    bundle: ModelBundle,
    calibration: SupportCalibration | None,
    recipe: PromiseRecipe,
    *,
    threads: int,
) -> dict[str, Kept]:
    if calibration is None:
        return {}
    return {
        kind: kept(calibration, frame_table((drive_study(bundle, routes, threads=threads),)))
        for kind, routes in recipe.routes(recipe.fresh_seed).items()
    }


def _settled(studies: Sequence[Study]) -> Study:
    """Return the drives in one weather, each without its own adapter."""
    drives = (r for study in studies for r in study.recordings)
    settled = (r for r in drives if r.name.endswith(f"-without-{r.domains[0]}"))
    return Study(studies[0].info, tuple(settled))


def _families(bundle: ModelBundle, settled: Study) -> tuple[FamilyAlarm, ...]:
    library = AdapterLibrary.of(bundle)
    live = LiveSettings.of(Config(), bundle.manifest.defaults)
    bank = bank_of(library, distance=live.distance)
    return family_alarms(
        settled,
        bank,
        settings=live.retrieval,
        distance=live.distance,
        out_of_library=live.threshold(bank.alarm),
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
        "errors": report.errors,
        "refusal": report.refusal,
        "frames": report.frames,
        "held_out": [asdict(h) for h in report.held_out],
        "contenders": [asdict(c) for c in promise.contenders],
        "fresh": {k: asdict(v) for k, v in promise.fresh.items()},
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
