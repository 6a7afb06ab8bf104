"""How often a library's own threshold calls new frames of known domains unknown, simulated.

`python test/alarm_law.py` prints the table of docs/library.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semla_ros.core.novelty import EmbeddingSample
from semla_ros.core.types import Float64Array
from semla_ros.navigator.held_out import (
    FALSE_ALARMS,
    library_alarm,
    tied_whitening,
)

_DRIVES, _FRAMES = 6, 40
"""New drives of each domain, and the frames of each."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What embeddings are like.

    Attributes:
        name: Short.
        tails: Degrees of freedom of a multivariate t distribution; 0: normal.
        memory: Correlation of a frame with the one before, in the same drive.
        unequal: Domains spread in sizes and directions of their own.
    """

    name: str
    tails: int = 0
    memory: float = 0.0
    unequal: bool = False


SCENARIOS = (
    Scenario("normal"),
    Scenario("heavy tails", tails=6),
    Scenario("unequal domains", unequal=True),
    Scenario("one drive", memory=0.9),
    Scenario("all of these", tails=6, memory=0.9, unequal=True),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it, means over runs.

    Attributes:
        false_alarms: Share of frames of new drives in known domains above the threshold.
        worst_domain: The same of the domain with most, its mean over runs.
        in_sample: The share where the threshold is the 99 % quantile of the images themselves.
        found: Share of frames of a domain that the library lacks.
    """

    false_alarms: float
    worst_domain: float
    in_sample: float
    found: float


@dataclass(frozen=True, slots=True)
class _Domain:
    centre: Float64Array
    deviation: Float64Array

    def drive(self, rng: np.random.Generator, scenario: Scenario, frames: int) -> Float64Array:
        """Return the embeddings of one drive, (frames, D)."""
        dim = len(self.centre)
        noise = rng.normal(size=(frames, dim))
        for i in range(1, frames):
            fresh = np.sqrt(1.0 - scenario.memory**2) * noise[i]
            noise[i] = scenario.memory * noise[i - 1] + fresh
        if scenario.tails:
            noise /= np.sqrt(rng.chisquare(scenario.tails, (frames, 1)) / scenario.tails)
        found: Float64Array = self.centre + noise * self.deviation
        return found


def run(scenario: Scenario, *, dim: int, images: int, domains: int, runs: int) -> Outcome:
    """Return how a library of `domains` does, each domain one drive of `images` frames or more.

    Every second domain has up to three times as many; variances fall with a power law. The domain
    that is missing lies as far away as the others do from each other.

    Args:
        scenario: What embeddings are like.
        dim: Their length.
        images: Of the smallest domain.
        domains: How many are known.
        runs: Libraries made.
    """
    found = [_once(scenario, dim, images, domains, seed=seed) for seed in range(runs)]
    mean = np.asarray(found).mean(axis=0)
    return Outcome(*(float(value) for value in mean))


def _once(
    scenario: Scenario, dim: int, images: int, domains: int, *, seed: int
) -> tuple[float, float, float, float]:
    rng = np.random.default_rng([dim, images, domains, seed])
    world = [_domain(rng, scenario, dim) for _ in range(domains + 1)]
    *known, missing = world
    counts = [images if i % 2 == 0 else int(images * rng.uniform(1, 3)) for i in range(domains)]
    rows = [d.drive(rng, scenario, n) for d, n in zip(known, counts, strict=True)]
    samples = [
        EmbeddingSample(each.astype(np.float32), np.arange(len(each)) * 3 // len(each), len(each))
        for each in rows
    ]
    alarm = library_alarm([str(i) for i in range(domains)], samples, min_images=1)
    threshold = 0.0 if alarm is None else alarm.threshold
    widths = np.ones(domains) if alarm is None else np.asarray(alarm.widths)
    turn = tied_whitening(rows)
    places = np.stack([each.mean(axis=0) for each in rows]) @ turn

    def novelty(embeddings: Float64Array) -> Float64Array:
        away = (embeddings @ turn)[:, np.newaxis] - places
        distances: Float64Array = (np.linalg.norm(away, axis=2) / widths).min(axis=1)
        return distances

    fitted = float(np.quantile(np.concatenate([novelty(r) for r in rows]), 1 - FALSE_ALARMS))
    new = [
        novelty(np.concatenate([d.drive(rng, scenario, _FRAMES) for _ in range(_DRIVES)]))
        for d in known
    ]
    alarms = [float((each > threshold).mean()) for each in new]
    lost = novelty(missing.drive(rng, scenario, _FRAMES))
    return (
        float(np.mean(alarms)),
        max(alarms),
        float((np.concatenate(new) > fitted).mean()),
        float((lost > threshold).mean()),
    )


def _domain(rng: np.random.Generator, scenario: Scenario, dim: int) -> _Domain:
    variance = 1.0 / np.arange(1, dim + 1)
    variance *= dim / variance.sum()
    centre = 4.0 * rng.normal(size=dim) * np.sqrt(variance)
    if scenario.unequal:
        moved = rng.choice(dim, dim // 3, replace=False)
        variance[moved] = variance[rng.permutation(moved)]
        variance *= np.exp(rng.normal(0.0, 0.5, dim)) * np.exp(rng.normal(0.0, 0.35)) ** 2
    return _Domain(centre, np.sqrt(variance))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="False alarms of a library's own threshold.")
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 128, 544, 1280])
    parser.add_argument("--images", type=int, nargs="+", default=[25, 50, 150])
    parser.add_argument("--domains", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--runs", type=int, default=8)
    options = parser.parse_args(argv)
    _say("| D | domains | images | embeddings | before | now | worst domain | found |")
    _say("| ---: " * 3 + "| --- " + "| ---: " * 4 + "|")
    for dim in options.dims:
        for domains in options.domains:
            for images in options.images:
                for scenario in SCENARIOS:
                    got = run(scenario, dim=dim, images=images, domains=domains, runs=options.runs)
                    shares = (got.in_sample, got.false_alarms, got.worst_domain, got.found)
                    cells = " | ".join(f"{100 * share:.1f} %" for share in shares)
                    _say(f"| {dim} | {domains} | {images} | {scenario.name} | {cells} |")


if __name__ == "__main__":
    main()
