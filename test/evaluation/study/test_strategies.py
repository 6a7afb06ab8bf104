from __future__ import annotations

import numpy as np
import pytest

from semla_ros.core.errors import ConfigError, LibraryError
from semla_ros.core.types import BASE, AdapterMix, Frame
from semla_ros.engine.postprocess import labels_from_scores, scores_from_logits
from semla_ros.evaluation.study.evaluate import observe
from semla_ros.evaluation.study.observation import Observation
from semla_ros.evaluation.study.strategies import BASELINES, check_strategies, strategy_of
from semla_ros.library.retrieval import RetrievalSettings
from semla_ros.navigator.distance import CentroidBank, euclidean

NAMES = ("a", "b", "c")
CENTROIDS = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
BANK = CentroidBank(NAMES, CENTROIDS, whitening=np.diag([2.0, 4.0]))
SETTINGS = RetrievalSettings(top_k=2)


def _seen(point: tuple[float, float], excluded: frozenset[str] = frozenset()) -> Observation:
    frame = Frame(0, "camera", np.zeros((2, 2, 3), np.uint8))
    embedding = np.array(point, np.float32)
    return Observation(
        frame, excluded=excluded, embedding=embedding, distances=euclidean(embedding, BANK)
    )


def _weights(
    strategy: str, seen: Observation, settings: RetrievalSettings = SETTINGS
) -> dict[str, float]:
    mix = strategy_of(strategy, NAMES, settings, BANK)(seen)
    assert mix is not None
    return dict(zip(mix.names, mix.weights, strict=True))


def test_adapter_soup_takes_the_nearest_alike() -> None:
    assert _weights("adapter-soup", _seen((0.9, 0.0))) == {"a": 0.5, "b": 0.5}


def test_a_soup_leaves_out_the_base() -> None:
    settings = RetrievalSettings(top_k=3, null_distance=1e-3)
    assert BASE in _weights("semla", _seen((0.9, 0.1)), settings)
    assert _weights("adapter-soup", _seen((0.9, 0.1)), settings).keys() == {*NAMES}


def test_top_k_weights_are_the_softmax_of_cosines() -> None:
    point = np.array([0.96, 0.28])
    cosines = CENTROIDS @ point
    expected = np.exp(cosines[:2] / 0.01)
    expected /= expected.sum()
    found = _weights("top-k-weighted", _seen((0.96, 0.28)))
    assert [found["a"], found["b"]] == pytest.approx(expected.tolist(), rel=1e-3)
    assert "c" not in found


def test_the_gate_is_bayes_rule_of_gaussians_with_one_covariance() -> None:
    covariance = np.diag([1 / 4, 1 / 16])
    point = np.array([0.7, 0.4])
    away = CENTROIDS - point
    density = np.exp(-0.5 * np.einsum("kd,de,ke->k", away, np.linalg.inv(covariance), away))
    found = _weights("lda-gate", _seen((0.7, 0.4)))
    expected = dict(zip(NAMES, density / density.sum(), strict=True))
    assert found == pytest.approx(expected, rel=1e-5)
    kept = _weights("lda-gate", _seen((0.7, 0.4), frozenset({"b"})))
    assert kept["a"] / kept["c"] == pytest.approx(expected["a"] / expected["c"], rel=1e-5)
    assert kept.keys() == {"a", "c"}


def test_the_gate_needs_a_spread() -> None:
    gate = strategy_of("lda-gate", NAMES, SETTINGS, CentroidBank(NAMES, CENTROIDS))
    with pytest.raises(LibraryError, match=r"lda-gate.*embed more images"):
        gate(_seen((0.7, 0.4)))


@pytest.mark.parametrize("strategy", BASELINES)
def test_with_everything_left_out_the_base_serves(strategy: str) -> None:
    assert _weights(strategy, _seen((0.7, 0.4), frozenset(NAMES))) == {BASE: 1.0}


def test_a_strategy_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"late-fusion.*got 'mole'"):
        check_strategies(("mole",), NAMES)


def test_late_fusion_averages_scores_of_single_networks(open_session) -> None:
    session = open_session()
    rgb = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    seen = observe(session, Frame(0, "camera", rgb), "")
    names = session.names[:2]
    scores = []
    for name in names:
        session.serve(AdapterMix((name,), (1.0,)), 0)
        scores.append(scores_from_logits(session.parts.engine.logits(rgb)))
    expected = labels_from_scores(
        0.75 * scores[0] + 0.25 * scores[1], session.parts.engine.facts.size
    )
    made = session.fused_late(seen, AdapterMix(names, (0.75, 0.25)))
    np.testing.assert_array_equal(made.labels, expected.labels)
    assert np.abs(made.confidence.astype(int) - expected.confidence).max() <= 1
