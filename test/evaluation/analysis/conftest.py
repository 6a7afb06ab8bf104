"""Studies made by hand, with truths known by construction."""

import numpy as np
import pytest

from semla_ros.core.mask_signals import SIGNALS
from semla_ros.evaluation.study.study import (
    GATED,
    SEMLA,
    ZERO_SHOT,
    SequenceResult,
    StrategyResult,
    Study,
    StudyInfo,
)

PIXELS = 10_000
ENTROPY = SIGNALS.index("class_entropy")
CLASSES = ("road", "car", "person")
ADAPTERS = ("fog-day", "fog-night", "rain-day", "rain-night")
STEP_NS = 200_000_000


def counts_of(miou):
    """(F, 3, T) counts whose every class has exactly the IoU of its frame, to 1e-4."""
    hits = np.round(np.asarray(miou) * PIXELS).astype(np.int64)
    each = np.stack([hits, np.zeros_like(hits), PIXELS - hits], axis=1)
    return np.repeat(each[:, :, None], len(CLASSES), axis=2)


def result(strategy, miou, *, signals=None, weights=None):
    number = len(miou)
    if weights is None:
        weights = np.zeros((number, len(ADAPTERS) + 1), np.float32)
        weights[:, 0] = 1.0
    signals = np.full((number, len(SIGNALS)), 0.5) if signals is None else signals
    return StrategyResult(
        strategy=strategy,
        counts=counts_of(miou),
        weights=np.asarray(weights, np.float32),
        signals=np.asarray(signals, np.float64),
        mask_crc32=np.arange(number, dtype=np.uint32),
        swapped=np.zeros(number, np.bool_),
    )


def recording(name, domains, support, miou, *, signals=None, **more):
    number = len(domains)
    rng = np.random.default_rng(len(name) * 1000 + number)
    embeddings = rng.normal(size=(number, 6)).astype(np.float32)
    plain = {
        "source": name,
        "name": name,
        "topic": "/image",
        "stamps_ns": np.arange(number, dtype=np.int64) * STEP_NS,
        "domains": tuple(domains),
        "scored": np.ones(number, np.bool_),
        "embeddings": embeddings,
        "distances": np.abs(rng.normal(5, 1, size=(number, len(ADAPTERS)))),
        "novelty": np.abs(rng.normal(5, 1, size=number)),
        "support": np.asarray(support, np.float64),
        "smoothed": np.asarray(support, np.float64),
        "levels": ("OK",) * number,
        "results": {
            ZERO_SHOT: result(ZERO_SHOT, np.asarray(miou) * 0.5),
            SEMLA: result(SEMLA, miou, signals=signals),
            GATED: result(GATED, np.asarray(miou) * 0.98, signals=signals),
        },
    }
    return SequenceResult(**{**plain, **more})


def study(recordings, **more):
    info = {
        "bundle": "tiny",
        "bundle_sha256": "ab" * 32,
        "engine": "fake",
        "classes": CLASSES,
        "adapters": ADAPTERS,
        "label_map": "camvid",
        "strategies": (ZERO_SHOT, SEMLA, GATED),
        "parameters": {"temperature": 0.05, "top_k": 2, "distance": "euclidean"},
        "support_low": 0.15,
        "out_of_library": 20.0,
        "colors": ((128, 64, 128), (0, 0, 142), (220, 20, 60)),
    }
    return Study(StudyInfo(**{**info, **more}), tuple(recordings))


def law(entropy):
    """The true mean mIoU at an entropy of a mask's classes."""
    return 0.2 + 0.5 * np.clip(entropy, 0, 1)


def calibrated_study(*, frames=150, drives=4, noise=0.05, seed=0, useful=True):
    """Every domain obeys the same law, so held-out coverage must reach its target.

    Args:
        useful: False: the signals are noise, too, and tell nothing.
    """
    rng = np.random.default_rng(seed)
    recordings = []
    for domain in ADAPTERS:
        for number in range(drives):
            signals = rng.uniform(0, 1, (frames, len(SIGNALS)))
            told = signals[:, ENTROPY] if useful else rng.uniform(0, 1, frames)
            miou = np.clip(law(told) + rng.normal(0, noise, frames), 0, 1)
            support = rng.uniform(0, 1, frames)
            name = f"{domain}-{number}"
            recordings.append(recording(name, (domain,) * frames, support, miou, signals=signals))
    return study(recordings)


@pytest.fixture(scope="session")
def made():
    """What the tests of this folder build with; conftest modules cannot be imported by name."""

    class Made:
        classes, adapters, step_ns = CLASSES, ADAPTERS, STEP_NS
        counts_of = staticmethod(counts_of)
        result = staticmethod(result)
        recording = staticmethod(recording)
        study = staticmethod(study)
        law = staticmethod(law)
        calibrated = staticmethod(calibrated_study)

    return Made
