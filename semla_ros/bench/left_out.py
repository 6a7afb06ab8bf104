"""Which domains does a library miss when it lacks them? For docs/loop.md.

`python -m semla_ros.bench.left_out [BUNDLE]` leaves out each domain and each pair of domains in
turn. Of the images whose embeddings the library keeps of them it prints which share, each image
alone, the rest of the library takes for OUT_OF_LIBRARY, and which for that or of low support.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Collection, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.config import Config
from semla_ros.core.types import DomainEstimate, Float32Array
from semla_ros.library.library import AdapterLibrary
from semla_ros.navigator.distance import DISTANCES, CentroidBank, novelties
from semla_ros.pipeline.assembly import default_bundle
from semla_ros.pipeline.library_view import bank_of
from semla_ros.pipeline.settings import LiveSettings


def shares(bundle: ModelBundle, gone: Collection[str]) -> tuple[float, float]:
    """Return the shares of the images of domains `gone` that the rest finds, 0..1.

    The first is OUT_OF_LIBRARY, the second that or of low support.
    """
    settings = LiveSettings.of(Config(), bundle.manifest.defaults)
    known = AdapterLibrary.of(bundle).statistics
    samples = [known[name].sample for name in gone]
    rows = np.concatenate([each.embeddings for each in samples if each is not None])
    with tempfile.TemporaryDirectory() as scratch:
        rest = Path(scratch) / "library"
        shutil.copytree(bundle.library, rest, ignore=shutil.ignore_patterns(".*", *gone))
        bank = bank_of(AdapterLibrary.of(bundle, root=rest), distance=settings.distance)
    estimates = [_estimate(row, bank, distance=settings.distance) for row in rows]
    outside = np.array(
        [settings.outside(e, novelty=settings.novelty(e), before=False) for e in estimates]
    )
    low = np.array([settings.support_alone(e) < settings.support_low for e in estimates])
    return float(outside.mean()), float((outside | low).mean())


def _estimate(row: Float32Array, bank: CentroidBank, *, distance: str) -> DomainEstimate:
    away = DISTANCES[distance](row, bank)
    return DomainEstimate(
        stamp_ns=0,
        embedding=row,
        raw_embedding=row,
        names=bank.names,
        distances=away,
        raw_distances=away,
        novelties=novelties(row, bank),
        alarm=bank.alarm,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, what is found best first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?", type=Path)
    options = parser.parse_args(arguments)
    bundle = open_bundle(options.bundle or default_bundle(), verify=False)
    names = AdapterLibrary.of(bundle).names
    sets = [(name,) for name in names] + list(combinations(names, 2))
    found = {gone: shares(bundle, gone) for gone in sets}
    lines = ["| left out | out of library | or low |", "| --- | ---: | ---: |"]
    for gone, (outside, uncovered) in sorted(found.items(), key=lambda item: -item[1][0]):
        lines.append(f"| {' + '.join(gone)} | {100 * outside:.0f} % | {100 * uncovered:.0f} % |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
