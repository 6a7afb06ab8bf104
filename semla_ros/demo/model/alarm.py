"""The images by which the demo library finds its alarm's threshold: those it was trained on.

`python -m semla_ros.demo.model.alarm` makes them anew beside centroids that stay; without torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from semla_ros.bundle import ModelBundle, open_bundle, reseal
from semla_ros.core.errors import LibraryError
from semla_ros.core.types import Float32Array
from semla_ros.demo.model.recipe import IMAGE_SIZE, Recipe
from semla_ros.demo.world import DOMAINS, conditions_of, render, sample_scene
from semla_ros.library.statistics import read_statistics
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.prepare.adapters.seals import reseal_file
from semla_ros.prepare.adapters.write import write_statistics
from semla_ros.prepare.curation.spread import sample_of

_SAME = 1e-3
"""Largest difference of a centroid that was made from the same images."""


def store_samples(bundle: ModelBundle, recipe: Recipe | None = None, *, threads: int = 2) -> None:
    """Add a sample of the training scenes to each domain's statistics; the rest stays.

    Raises:
        LibraryError: The scenes are not those that the centroids were made from.
    """
    chosen = recipe or Recipe()
    encoder = OnnxImageEncoder(bundle, threads=threads)
    for place, domain in enumerate(DOMAINS):
        first = chosen.seeds.train + 100_000 * place
        rows = _embedded(encoder, domain, range(first, first + chosen.domain_scenes))
        folder = bundle.library / domain
        statistics = read_statistics(folder, domain)
        if not np.allclose(rows.mean(axis=0), statistics.centroid, atol=_SAME):
            raise LibraryError(
                f"expected the scenes behind the centroid of {domain!r}, got others: run "
                "scripts/make_demo_model"
            )
        sample = sample_of(lambda rows=rows: iter([rows]), count=len(rows))  # type: ignore[misc]
        reseal_file(write_statistics(folder, domain, replace(statistics, sample=sample)))
    reseal(bundle, defaults=replace(bundle.manifest.defaults, out_of_library=0.0))


def _embedded(encoder: OnnxImageEncoder, domain: str, seeds: Sequence[int]) -> Float32Array:
    rows = []
    for seed in tqdm(seeds, desc=f"embed {domain}", mininterval=5.0):
        conditions = conditions_of(domain, np.random.default_rng(seed))
        image = render(sample_scene(seed), conditions, size=IMAGE_SIZE, noise_seed=seed)
        rows.append(encoder.encode(image.rgb))
    return np.stack(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Store the samples of the bundle that the arguments name, in place."""
    parser = argparse.ArgumentParser(description="Store the images behind the demo's alarm.")
    parser.add_argument("--bundle", type=Path, default=Path("models/demo"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(argv)
    store_samples(open_bundle(options.bundle), threads=options.threads)


if __name__ == "__main__":
    main()
