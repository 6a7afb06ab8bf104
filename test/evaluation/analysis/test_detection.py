"""Alarms and correlations with answers worked out by hand."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install '.[evaluate]'")

from semla_ros.core.errors import EvaluationError
from semla_ros.evaluation.analysis.detection import (
    alarms,
    associations,
    auroc,
    bad_masks,
    families,
    family_patterns,
    pearson,
    rates,
    spearman,
    tpr_at,
)
from semla_ros.evaluation.analysis.frames import frame_table


def test_auroc_by_hand():
    score = np.array([0.1, 0.4, 0.35, 0.8])
    positive = np.array([False, False, True, True])
    assert auroc(score, positive) == 0.75
    assert np.isnan(auroc(score, np.ones(4, bool)))


def test_tpr_at_one_percent_of_two_hundred_negatives():
    negatives = np.arange(200.0)  # two of them may pass: the threshold is the third largest
    positives = np.array([150.0, 197.0, 197.5, 300.0])
    score = np.concatenate([negatives, positives])
    truth = np.concatenate([np.zeros(200, bool), np.ones(4, bool)])
    assert tpr_at(score, truth) == 0.5
    assert (negatives > 197.0).mean() == 0.01


def test_with_few_negatives_none_may_pass():
    score = np.array([1.0, 2.0, 2.0, 3.0])
    assert tpr_at(score, np.array([False, False, True, True])) == 0.5


def test_rates_by_hand():
    known = np.array([True, True, False, False])
    assert rates(np.array([1.0, 9.0, 9.0, 2.0]), threshold=5.0, known=known) == (0.5, 0.5)


def test_a_signal_that_is_the_truth_wins(made):
    miou = np.linspace(0.1, 0.9, 50)
    best = made.recording("a", ("a",) * 50, miou, miou, novelty=1 - miou, levels=("OK",) * 50)
    table = frame_table([made.study([best])], strategy="semla")
    found = {a.signal: a for a in associations(table)}
    assert found["support"].spearman == pytest.approx(1.0)
    assert found["novelty"].spearman == pytest.approx(1.0), "turned so that large means good"
    assert np.isnan(found["confidence"].spearman), "a constant tells nothing"
    bad = bad_masks(table, 0.5)
    assert bad.auroc["support"] == 1.0
    assert bad.share == 0.5


def test_ranks_ignore_a_monotone_bend():
    x = np.linspace(0, 3, 30)
    assert spearman(x, np.exp(x)) == pytest.approx(1.0)
    assert pearson(x, np.exp(x)) < 0.95
    assert np.isnan(pearson(x[:2], x[:2]))


def test_an_alarm_compares_known_and_unknown(made):
    ones = np.ones(100)
    known = made.recording("a", ("a",) * 100, ones, ones, novelty=np.linspace(0, 1, 100))
    away = made.recording("b", ("b",) * 10, ones[:10], ones[:10], novelty=np.full(10, 2.0))
    tables = [frame_table([made.study([r])], strategy="semla") for r in (known, away)]
    found = {a.signal: a for a in alarms(*tables, family="b")}
    assert (found["novelty"].auroc, found["novelty"].tpr) == (1.0, 1.0)
    assert (found["novelty"].known, found["novelty"].unknown) == (100, 10)
    assert found["support"].auroc == 0.5


def test_families_are_the_words_that_some_domains_share():
    names = ("fog-day", "fog-night", "rain-day", "rain-night")
    assert family_patterns(names) == ("*day*", "*fog*", "*night*", "*rain*")
    assert family_patterns(("fog", "rain")) == ()
    np.testing.assert_array_equal(families(names, ["*night"])["*night"], [False, True] * 2)
    with pytest.raises(EvaluationError, match="snow"):
        families(names, ["*snow*"])
