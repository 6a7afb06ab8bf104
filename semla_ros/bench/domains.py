"""Which features of a navigator tell domains apart, and what is it worth? For docs/navigators.md.

`python -m semla_ros.bench.domains --out FILE [NAME=SOURCE …]` gives a demo bundle other
navigators, made of the one it has and of its segmentation graph; each gets centroids and settings
as the demo model's own has them. Recordings are domains of their own. `semla bench report` makes
the tables.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from semla_ros.bench.domain_figures import Rows, missing, nearest
from semla_ros.bench.domain_world import THIRDS, World
from semla_ros.bench.record import BenchRecord, Row, save_record
from semla_ros.bundle import ModelBundle, file_sha256, open_bundle, reseal, write_manifest
from semla_ros.core.config import Config
from semla_ros.core.errors import BundleError
from semla_ros.core.types import Float32Array, UInt8Array
from semla_ros.demo.model.adapters import write_centroids
from semla_ros.demo.model.calibrate import calibrate
from semla_ros.demo.model.experiment import mean_and_spread, score
from semla_ros.demo.model.recipe import Recipe
from semla_ros.library.retrieval import settings_from
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.pipeline import default_bundle
from semla_ros.prepare.bundler.channel_statistics import with_features
from semla_ros.prepare.bundler.navigator_parts import (
    FEATURES,
    SEGMENTER,
    Navigator,
    NavigatorParts,
)
from semla_ros.prepare.bundler.writer import write_navigator
from semla_ros.prepare.training.runner import Runner

_PROMPTS = "navigator_prompts.npz"
_STRATEGIES = ("semla-loo", "semla")
RECIPE = Recipe(domain_scenes=80, validation_scenes=0)
_NOTES = (
    "embedding: the bundle's navigator as it is; statistics, both: channel statistics of its "
    "early layers, alone and beside it; segmenter: those of the segmentation graph before any "
    "adapter.",
    "nearest: percent of frames whose nearest domain is their own, by Euclidean distance and by "
    "novelty.",
    "auroc: of novelty, each domain in turn taken out of the library, mean over domains and the "
    "worst; found, false_alarms: percent of single frames of the missing domain and of the others "
    "beyond the threshold that the library without it finds for itself.",
    "h_mean (--miou): mIoU over domains, own adapter left out and whole library, with settings "
    "chosen anew on validation scenes. spread: standard deviation over disjoint test sets.",
)


def run_domains(
    folder: Path, recordings: Mapping[str, Path], *, command: str, recipe: Recipe = RECIPE
) -> BenchRecord:
    """Return the record of every navigator that `folder`, a demo bundle, can be given.

    Args:
        folder: The bundle.
        recordings: Name -> images; of each, first and last third make it known, the middle tests.
        command: The command line that measures it again.
        recipe: Numbers of scenes, their seeds; without validation scenes no mIoU is measured.

    Raises:
        SemlaError: The bundle does not run, or a recording cannot be read.
    """
    bundle, world = open_bundle(folder), World.made(recipe, recordings)
    rows: list[Row] = []
    further: list[Row] = []
    for name in (*FEATURES, SEGMENTER):
        with tempfile.TemporaryDirectory(prefix="semla-bench-") as scratch:
            made = with_navigator(bundle, _navigator(bundle, name), Path(scratch) / "bundle")
            encoder = OnnxImageEncoder(made, threads=1)
            known = {each.domain: _embedded(encoder, each.images.rgb) for each in world.train}
            seen = [{e.domain: _embedded(encoder, e.images.rgb) for e in t} for t in world.tests]
            facts: Row = {"navigator": name, "dimensions": encoder.dim}
            scores = _scores(made, encoder, world) if world.validation else {}
            rows.append({**facts, **_told_apart(known, seen), **scores})
            real = {key: _embedded(encoder, each) for key, each in world.recordings.items()}
            further += [{**facts, **row} for row in _with_recordings(known, seen[0], real)]
    tables = [{"title": "Recordings as further domains", "rows": further}] if further else []
    title = f"Navigators of bundle {bundle.manifest.name}"
    return BenchRecord(title, command, tuple(rows), notes=_NOTES, extra={"tables": tables})


def with_navigator(bundle: ModelBundle, navigator: Navigator, out: Path) -> ModelBundle:
    """Return a copy of `bundle` in the new folder `out` with another navigator.

    Its adapters keep the statistics of the old one.

    Raises:
        SemlaError: The navigator does not fit, or the copy cannot be written.
    """
    manifest = bundle.manifest
    try:
        shutil.copytree(bundle.root, out)
    except OSError as error:
        raise BundleError(f"cannot write {str(out)!r}: {error}: check space and rights") from error
    for of_the_old_one in (out / _PROMPTS, ModelBundle(out, manifest).navigator_text):
        of_the_old_one.unlink(missing_ok=True)
    spec = write_navigator(
        out, navigator, base_model=manifest.base_model, shape=manifest.segmentation.shape
    )
    files = {name: file_sha256(out / name) for name in manifest.files if (out / name).is_file()}
    write_manifest(out, replace(manifest, navigator=spec, files=files))
    return open_bundle(out)


def _navigator(bundle: ModelBundle, name: str) -> Navigator:
    """Return the bundle's navigator with the features `name`, or the segmentation network."""
    spec = bundle.manifest.navigator
    if name == SEGMENTER or spec is None:
        return SEGMENTER
    return with_features(NavigatorParts(onnx.load(str(bundle.navigator_graph)), spec), name)


def _told_apart(known: Rows, tests: Sequence[Rows]) -> Row:
    ways = np.array([nearest(known, each) for each in tests])
    gone = [missing(known, tests, name) for name in known]
    aurocs = np.array([[each.auroc for each in row] for row in gone]).T
    alarms = np.array([[(each.found, each.false_alarms) for each in row] for row in gone])
    found, false = alarms.mean(axis=0).T
    return {
        **_percent("nearest_by_distance", ways[:, 0]),
        **_percent("nearest_by_novelty", ways[:, 1]),
        **_percent("auroc", aurocs.mean(axis=1)),
        **_percent("auroc_worst", aurocs.min(axis=1)),
        **_percent("found", found),
        **_percent("false_alarms", false),
    }


def _scores(made: ModelBundle, encoder: OnnxImageEncoder, world: World) -> Row:
    """Return mIoU with settings chosen as the demo model's are."""
    write_centroids(encoder, world.train, out=made.library)
    runner = Runner.open(made)
    settled = reseal(made, defaults=calibrate(runner, world.validation))
    settings = settings_from(Config(), settled.manifest.defaults)
    settings = replace(settings, null_distance=-1.0)  # the base would hide what features are worth
    scores = [score(runner, test, settings, strategies=_STRATEGIES) for test in world.tests]
    runner.close()
    loo, whole = ([each.h_mean(s) / 100 for each in scores] for s in _STRATEGIES)
    return {**_percent("h_mean_left_out", loo), **_percent("h_mean_whole", whole)}


def _with_recordings(known: Rows, seen: Rows, real: Rows) -> Iterator[Row]:
    """Yield how each recording is told from the scenes and from the others."""
    thirds = {name: np.array_split(rows, THIRDS) for name, rows in real.items()}
    train = {**known, **{name: np.concatenate([a, c]) for name, (a, _, c) in thirds.items()}}
    test = {**seen, **{name: b for name, (_, b, _) in thirds.items()}}
    for name in real:
        by_distance, by_novelty = nearest(train, {name: test[name]})
        (gone,) = missing(train, [test], name)
        yield {
            "recording": name,
            "frames": len(real[name]),
            "nearest_by_distance": 100 * by_distance,
            "nearest_by_novelty": 100 * by_novelty,
            "auroc": 100 * gone.auroc,
            "found": 100 * gone.found,
            "false_alarms": 100 * gone.false_alarms,
        }


def _percent(name: str, shares: Iterable[float]) -> dict[str, float]:
    mean, spread = mean_and_spread([100 * float(each) for each in shares])
    return {name: mean, f"{name}_spread": spread}


def _embedded(encoder: OnnxImageEncoder, images: Iterable[UInt8Array]) -> Float32Array:
    return np.stack([encoder.encode(rgb) for rgb in images])


def _named(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"expected NAME=SOURCE, got {text!r}")
    return name, Path(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the record."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", nargs="*", type=_named, metavar="NAME=SOURCE")
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument(
        "--miou", action="store_true", help="segment as well: a quarter of an hour"
    )
    parser.add_argument("--out", type=Path, required=True, help="the .json to write")
    options = parser.parse_args(given)
    command = f"python -m semla_ros.bench.domains {shlex.join(given)}"
    folder = options.bundle or default_bundle()
    recipe = replace(RECIPE, validation_scenes=24 * options.miou)
    recordings = dict(options.recordings)
    save_record(run_domains(folder, recordings, command=command, recipe=recipe), options.out)


if __name__ == "__main__":
    main()
