"""Studies made of thin air, for tests of what is done with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semla_ros.core.mask_signals import SIGNALS
from semla_ros.evaluation.study.study import SequenceResult, StrategyResult, Study, StudyInfo

CLASSES = ("road", "car", "sky")
ADAPTERS = ("clear-day", "fog-day")


def fake_result(strategy: str, frames: int, *, seed: int = 0) -> StrategyResult:
    """Return a result of `frames` frames whose counts are those of 100 pixels each."""
    rng = np.random.default_rng([seed, frames, len(strategy)])
    counts = rng.integers(1, 30, (frames, 3, len(CLASSES)))
    weights = rng.random((frames, len(ADAPTERS) + 1)).astype(np.float32)
    return StrategyResult(
        strategy=strategy,
        counts=counts.astype(np.int64),
        weights=weights / weights.sum(axis=1, keepdims=True),
        signals=rng.random((frames, len(SIGNALS))),
        mask_crc32=rng.integers(0, 2**32, frames).astype(np.uint32),
        swapped=rng.random(frames) < 0.2,
    )


def fake_recording(
    name: str = "drive",
    *,
    domains: Sequence[str] = ("clear-day",) * 5 + ("fog-day",) * 5,
    strategies: Sequence[str] = ("zero-shot", "semla"),
    seed: int = 0,
) -> SequenceResult:
    """Return one recording at 10 Hz, every frame scored."""
    frames = len(domains)
    rng = np.random.default_rng([seed, frames])
    return SequenceResult(
        source=f"{name}.mcap",
        name=name,
        topic="/camera",
        stamps_ns=np.arange(frames, dtype=np.int64) * 100_000_000,
        domains=tuple(domains),
        scored=np.ones(frames, dtype=np.bool_),
        embeddings=rng.standard_normal((frames, 4)).astype(np.float32),
        distances=rng.random((frames, len(ADAPTERS))) + 1.0,
        novelty=rng.random(frames),
        support=rng.random(frames),
        smoothed=rng.random(frames),
        levels=("OK",) * frames,
        results={s: fake_result(s, frames, seed=seed) for s in strategies},
    )


def fake_study(*recordings: SequenceResult) -> Study:
    """Return a study of `recordings`, of one fake recording without any."""
    kept = recordings or (fake_recording(),)
    info = StudyInfo(
        bundle="fake",
        bundle_sha256="0" * 64,
        engine="fake",
        classes=CLASSES,
        adapters=ADAPTERS,
        label_map="identity",
        strategies=tuple(kept[0].results),
    )
    return Study(info, kept)
