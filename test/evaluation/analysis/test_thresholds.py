"""Thresholds let the wished share of known frames pass, on readings as the node makes them."""

from dataclasses import replace

import numpy as np
import pytest

from semla_ros.config import Config, updated
from semla_ros.errors import EvaluationError
from semla_ros.evaluation.analysis.rerun import bundle_library
from semla_ros.evaluation.analysis.thresholds import thresholds
from semla_ros.evaluation.report.decisions import take_thresholds
from semla_ros.navigator.distance import CentroidBank
from semla_ros.pipeline.settings import LiveSettings


@pytest.fixture(scope="module")
def scene(tiny, made):
    """A library with a known spread, a drive at its first domain, and one far away."""
    library = bundle_library(tiny)
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
