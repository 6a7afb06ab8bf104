"""What words are worth in the demo world; the tables of docs/generating.md.

`python -m semla_ros.bench.words` prints two tables: every domain segmented without its own
adapter by what its captions say of the others, with controls; and the mIoU around a cut from one
domain to another, with a hint that is right, none, and one that is wrong, given a second before.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.config import Config
from semla_ros.core.types import Frame, UInt8Array
from semla_ros.data.metrics import Int64Array, frame_counts, mean_iou
from semla_ros.demo.model.experiment import score, spread_cell
from semla_ros.demo.model.recipe import Recipe
from semla_ros.demo.model.scenes import render_test_set
from semla_ros.demo.model.words import by_words
from semla_ros.demo.world import CLASSES, DOMAINS, Drive
from semla_ros.engine.postprocess import restore
from semla_ros.evaluation.study.session import Session, StudySettings
from semla_ros.evaluation.study.text_strategies import shuffled, words_of
from semla_ros.library.retrieval import settings_from
from semla_ros.pipeline.assembly import default_bundle
from semla_ros.prepare.training.runner import Runner

FPS = 5.0
BEFORE_S, AFTER_S, AHEAD_S = 3.0, 3.0, 1.0
"""Of a cut: the old domain, the new one, and how long before it the hint is given."""
SPANS = (("1 s before", -1.0, 0.0), ("1st s after", 0.0, 1.0), ("2nd and 3rd s", 1.0, 3.0))
SEEDS = (9_200_001, 9_200_002, 9_200_003)
"""Of the cuts: each once into every domain."""
SCENES = 15
"""Of each domain in each of the three test sets."""
PERMUTATIONS = 5
ARMS = ("right hint", "no hint", "wrong hint")
_ADJECTIVES = {"clear": "cloudless", "fog": "foggy", "rain": "rainy", "snow": "snowy"}


def left_out_table(bundle: ModelBundle) -> Iterator[str]:
    """Yield the table of h-means with the target's own adapter left out, line by line."""
    recipe, runner = Recipe(), Runner.open(bundle)
    settings = settings_from(Config(), bundle.manifest.defaults)
    names, words = runner.library.names, words_of(bundle, runner.library)
    alone = replace(settings, top_k=1, null_distance=-1.0)
    others = {
        "words": by_words(names, settings, words),
        "nearest by words": by_words(names, alone, words),
        **{
            f"permuted {seed}": by_words(names, settings, shuffled(words, seed=seed))
            for seed in range(PERMUTATIONS)
        },
    }
    strategies = ("uniform", "semla-loo", *others)
    results = [
        score(
            runner,
            render_test_set(number, count=SCENES),
            settings,
            strategies=strategies,
            others=others,
            title=f"test {number}",
        )
        for number in range(recipe.test_seeds)
    ]
    yield f"| own adapter left out | {' | '.join(DOMAINS)} | h-mean |"
    yield "|---" * (len(DOMAINS) + 2) + "|"
    for strategy in strategies:
        cells = [spread_cell([r.miou[strategy][d] for r in results]) for d in DOMAINS]
        cells.append(spread_cell([r.h_mean(strategy) for r in results]))
        yield f"| {strategy} | {' | '.join(cells)} |"


@dataclass(frozen=True, slots=True)
class Cut:
    """A drive whose weather changes from one frame to the next.

    Attributes:
        frames, labels: What the camera sees, and the truth (H, W) of each.
        before, after: Domains.
        at: Number of the first frame of the new one.
    """

    frames: tuple[Frame, ...]
    labels: tuple[UInt8Array, ...]
    before: str
    after: str
    at: int


def cuts(seed: int) -> Iterator[Cut]:
    """Yield a cut into every domain, from another one chosen by `seed`."""
    rng = np.random.default_rng(seed)
    for number, after in enumerate(DOMAINS):
        before = str(rng.choice([d for d in DOMAINS if d != after]))
        at, seconds = round(BEFORE_S * FPS), BEFORE_S + AFTER_S
        old, new = (
            Drive(seed + 1000 * number, fps=FPS, segments=[(d, seconds)]) for d in (before, after)
        )
        shots = [(new if i >= at else old).frame(i) for i in range(len(old))]
        frames = tuple(Frame(s.stamp_ns, "", s.image.rgb) for s in shots)
        yield Cut(frames, tuple(s.image.labels for s in shots), before, after, at)


def spoken(domain: str) -> str:
    """Return how a planner announces `domain`, as none of its captions does."""
    weather, time = domain.split("-")
    return f"a {_ADJECTIVES[weather]} road {'at night' if time == 'night' else 'by day'}"


def counts(session: Session, cut: Cut, said: str) -> Int64Array:
    """Return (F, 3, T) counts of the node's masks over a cut, with what was said a second before.

    Args:
        session: The opened bundle.
        cut: The drive.
        said: Domain that is announced; "" for none.
    """
    pipeline = session.pipeline()
    found = []
    for number, (frame, labels) in enumerate(zip(cut.frames, cut.labels, strict=True)):
        if said and number == cut.at - round(AHEAD_S * FPS):
            pipeline.hint(spoken(said)).result()
        mask = restore(pipeline.step(frame).labels, (labels.shape[0], labels.shape[1]))
        found.append(frame_counts(labels, mask, classes=len(CLASSES)))
    return np.stack(found)


def cut_table(bundle: ModelBundle, seeds: Sequence[int]) -> Iterator[str]:
    """Yield the table of mIoU around cuts, line by line: mean and spread over seeds."""
    session = Session(StudySettings(bundle.root, strategies=("zero-shot",)))
    cells: dict[str, list[list[float]]] = {arm: [] for arm in ARMS}
    for seed in seeds:
        rows: dict[str, list[list[float]]] = {arm: [] for arm in ARMS}
        for number, cut in enumerate(cuts(seed)):
            others = [d for d in DOMAINS if d not in (cut.before, cut.after)]
            said = cut.after, "", others[number % len(others)]
            for arm, words in zip(ARMS, said, strict=True):
                rows[arm].append(_spans(counts(session, cut, words), cut.at))
        for arm in ARMS:
            cells[arm].append([float(v) for v in np.mean(rows[arm], axis=0)])
    yield f"| said 1 s before a cut | {' | '.join(name for name, _, _ in SPANS)} |"
    yield "|---" * (len(SPANS) + 1) + "|"
    for arm in ARMS:
        values = zip(*cells[arm], strict=True)
        yield f"| {arm} | {' | '.join(spread_cell(v) for v in values)} |"
    session.close()


def _spans(each: Int64Array, at: int) -> list[float]:
    """Return mIoU in percent over each of `SPANS`."""
    found = []
    for _, start, stop in SPANS:
        part = each[at + round(start * FPS) : at + round(stop * FPS)]
        found.append(100 * float(mean_iou(part.sum(axis=0))))
    return found


def _say(lines: Iterator[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--table", choices=("left-out", "cut"), action="append")
    options = parser.parse_args(arguments)
    bundle = open_bundle(options.bundle or default_bundle(), verify=False)
    tables = options.table or ("left-out", "cut")
    if "left-out" in tables:
        _say(left_out_table(bundle))
    if "cut" in tables:
        _say(cut_table(bundle, SEEDS))


if __name__ == "__main__":
    main()
