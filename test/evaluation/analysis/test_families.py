"""The alarm finds a family whose adapters left the library."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install '.[evaluate]'")

from semla_ros.evaluation.analysis.families import family_alarms
from semla_ros.library.retrieval import RetrievalSettings
from semla_ros.navigator.distance import CentroidBank

NAMES = ("fog-day", "fog-night", "rain-day", "rain-night")
SETTINGS = RetrievalSettings(0.05, 2)


@pytest.fixture(scope="module")
def bank():
    """Four domains, 20 apart, each with a spread of 1."""
    return CentroidBank(NAMES, np.eye(4, 6) * 20, None, np.eye(6))


@pytest.fixture(scope="module")
def study(made, bank):
    rng = np.random.default_rng(3)
    recordings = [
        replace(
            made.recording(name, (name,) * 50, np.ones(50), np.ones(50)),
            embeddings=(centroid + rng.normal(0, 1, (50, 6))).astype(np.float32),
        )
        for name, centroid in zip(NAMES, bank.centroids, strict=True)
    ]
    return made.study(recordings)


def test_a_family_that_left_is_found(study, bank):
    (night,) = family_alarms(
        study,
        bank,
        settings=SETTINGS,
        distance="euclidean",
        out_of_library=10.0,
        patterns=["*night*"],
    )
    by_name = {a.signal: a for a in night.alarms}
    assert (by_name["novelty"].known, by_name["novelty"].unknown) == (100, 100)
    assert (by_name["novelty"].auroc, by_name["novelty"].tpr) == (1.0, 1.0)
    assert (night.false_alarms, night.found) == (0.0, 1.0)
    assert np.isnan(by_name["confidence"].auroc), "masks without the family were not made"


def test_all_adapters_of_the_family_leave_even_those_without_frames(made, study, bank):
    rainless = made.study([r for r in study.recordings if r.name != "rain-night"])
    (night,) = family_alarms(
        rainless,
        bank,
        settings=SETTINGS,
        distance="euclidean",
        out_of_library=10.0,
        patterns=["*night*"],
    )
    assert night.found == 1.0
