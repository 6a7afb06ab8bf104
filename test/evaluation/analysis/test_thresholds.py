"""Thresholds let the wished share of known frames pass, on readings as the node makes them."""

from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.config import Config, updated
from semla_ros.core.errors import EvaluationError
from semla_ros.evaluation.analysis.thresholds import (
    held_out_rate,
    independent_frames,
    thresholds,
    upper_bound,
)
from semla_ros.evaluation.report.decisions import take_thresholds
from semla_ros.library.library import AdapterLibrary
from semla_ros.navigator.distance import CentroidBank
from semla_ros.pipeline.settings import LiveSettings


@pytest.fixture(scope="module")
def scene(tiny, made):
    """A library with a known spread, a drive at its first domain, and one far away."""
    library = AdapterLibrary.of(tiny)
    dim = library.centroids.shape[1]
    bank = CentroidBank(library.names, library.centroids, None, np.eye(dim))
    rng = np.random.default_rng(6)

    def drive(name, domain, offset):
        points = library.centroids[0] + offset + rng.normal(0, 1, (80, dim))
        one = made.recording(name, (domain,) * 80, np.ones(80), np.ones(80))
        return replace(one, embeddings=points.astype(np.float32))

    study = made.study([drive("home", library.names[0], 0.0), drive("away", "moon", 50.0)])
    config = updated(Config(), {"ema_time_s": 0.0, "out_of_library": 1e5})
    return study, library, bank, LiveSettings.of(config, tiny.manifest.defaults)


def test_the_wished_share_of_known_frames_passes(scene):
    study, library, bank, settings = scene
    found = thresholds([study], library, bank, settings=settings, rates=(0.2, 0.05))
    assert (found.known, found.unknown) == (79, 79), "the first frame has no reading"
    for choice, rate in zip(found.choices, (0.2, 0.05), strict=True):
        assert choice.false_alarms == pytest.approx(rate, abs=0.02)
        assert choice.found == 1.0
        assert choice.held_out < choice.upper < 0.5
    assert (found.now.false_alarms, found.now.found) == (0.0, 0.0), "1e5 raises no alarm"


def test_a_wish_is_taken_and_without_one_they_stay(scene):
    study, library, bank, settings = scene
    found = thresholds([study], library, bank, settings=settings, rates=(0.2, 0.05))
    parameters, why = {}, []
    take_thresholds(found, 0.0, parameters, why)
    assert parameters == {}
    assert "stays" in why[0]
    take_thresholds(found, 0.05, parameters, why)
    assert parameters["out_of_library"] == pytest.approx(found.choices[1].out_of_library)
    assert set(parameters) == {"out_of_library", "support_low"}
    take_thresholds(None, 0.05, {}, why)


def test_without_a_known_domain_there_is_nothing_to_say(scene, made):
    study, library, bank, settings = scene
    moon = made.study(study.recordings[1:])
    assert thresholds([moon], library, bank, settings=settings) is None
    with pytest.raises(EvaluationError, match="rates of false alarms"):
        thresholds([study], library, bank, settings=settings, rates=(0.0,))


def test_a_rate_is_judged_on_blocks_that_did_not_set_the_threshold():
    quiet, loud = np.linspace(1.0, 2.0, 100), np.linspace(3.0, 4.0, 100)
    block = np.repeat([0, 1], 100)
    novelty = np.concatenate([quiet, loud])
    fitted = (novelty > np.quantile(novelty, 0.99)).mean()
    assert fitted == pytest.approx(0.01)
    assert held_out_rate(novelty, block, rate=0.01) == 0.5, "the loud one was never seen"
    assert np.isnan(held_out_rate(quiet, np.zeros(100, int), rate=0.01))


def test_neighbours_that_resemble_each_other_count_for_less():
    rng = np.random.default_rng(0)
    free = rng.normal(size=4000)
    drift = free.copy()
    for i in range(1, len(drift)):
        drift[i] += 0.9 * drift[i - 1]
    block = np.zeros(4000, np.int64)
    assert independent_frames(free, block) == pytest.approx(4000, rel=0.1)
    assert independent_frames(drift, block) == pytest.approx(4000 * 0.1 / 1.9, rel=0.3)
    assert independent_frames(np.ones(5), np.zeros(5, np.int64)) == 5


def test_the_bound_is_clopper_and_pearsons():
    assert upper_bound(0.0, 149) == pytest.approx(1 - 0.05 ** (1 / 149))
    assert upper_bound(0.02, 100) == pytest.approx(0.0616, abs=1e-3)
    assert upper_bound(1.0, 9) == 1.0
