"""The map finds the law behind the data, the bound covers what it has not seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install 'semla-ros[evaluate]'")

from semla_ros.errors import EvaluationError
from semla_ros.evaluation.analysis.calibration import (
    calibrate,
    held_coverage,
    isotonic_knots,
    reliability,
)
from semla_ros.evaluation.analysis.conformal import block_weights, conformal_offset, coverage
from semla_ros.evaluation.analysis.frames import frame_table
from semla_ros.support_calibration import SupportSettings

SETTINGS = SupportSettings(0.05, 2, "euclidean", "inverse", -1.0)


def test_the_map_finds_the_law(made):
    report = calibrate(frame_table([made.calibrated()], strategy="semla"))
    grid = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(report.knots(grid), made.law(grid), atol=0.03)
    assert report.error < 0.6 * report.constant_error, "support must beat the plain mean"


def test_the_bound_covers_held_out_domains_that_obey_the_law(made):
    study = made.calibrated(frames=24, drives=25)  # 100 blocks: one more costs 1 %
    report = calibrate(frame_table([study], strategy="semla"), target=0.9)
    assert report.coverage == pytest.approx(0.9, abs=0.03)
    assert report.offset == pytest.approx(1.2816 * 0.05, abs=0.012), "90 % of a normal"
    assert {h.domain for h in report.held_out} == set(made.adapters)


def test_few_blocks_make_the_bound_cautious(made):
    report = calibrate(frame_table([made.calibrated()], strategy="semla"), target=0.9)
    assert 0.93 < report.coverage < 0.99, "one more block than 16 might all lie below"


def test_a_domain_that_breaks_the_law_is_seen_in_its_coverage(made):
    study = made.calibrated()
    odd = made.recording("odd", ("odd",) * 60, np.full(60, 0.9), np.full(60, 0.1))
    table = frame_table([made.study([*study.recordings, odd])], strategy="semla")
    report = calibrate(table)
    assert report.worst.domain == "odd"
    assert report.worst.coverage == 0.0


def test_what_is_stored_says_the_same(made):
    table = frame_table([made.calibrated(frames=24, drives=25)], strategy="semla")
    report = calibrate(table)
    stored = report.stored(SETTINGS, made_by="a test")
    for support in (0.1, 0.5, 0.9):
        expected = float(report.knots(np.array([support]))[0])
        assert stored.expected_miou(support) == pytest.approx(expected, abs=1e-4)
    fresh = frame_table([made.calibrated(seed=9)], strategy="semla")
    assert held_coverage(stored, fresh) == pytest.approx(0.9, abs=0.03)


def test_reliability_lies_on_the_diagonal_of_a_calibrated_map(made):
    table = frame_table([made.calibrated()], strategy="semla")
    bins = reliability(calibrate(table), table)
    assert len(bins) == 8
    assert all(abs(expected - true) < 0.02 for expected, true, _ in bins)


def test_out_of_library_frames_take_no_part(made):
    levels = ("OK",) * 50 + ("OUT_OF_LIBRARY",) * 50
    recordings = [
        made.recording(
            d, (d,) * 100, np.linspace(0, 1, 100), np.linspace(0.2, 0.6, 100), levels=levels
        )
        for d in made.adapters
    ]
    assert calibrate(frame_table([made.study(recordings)])).frames == 200


def test_too_few_domains_are_named(made):
    one = made.recording("fog", ("fog",) * 9, np.ones(9), np.ones(9))
    with pytest.raises(EvaluationError, match=r"at least 3 domains, got \['fog'\]"):
        calibrate(frame_table([made.study([one])]))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_knots_never_fall(pairs):
    support, miou = np.array(pairs).T
    knots = isotonic_knots(support, miou, np.ones(len(support)))
    assert (np.diff(knots.support) > 0).all()
    assert (np.diff(knots.expected) >= 0).all()
    assert knots.expected.min() >= 0
    assert knots.expected.max() <= 1


def test_one_frame_a_block_is_the_split_conformal_quantile():
    residuals = np.arange(1.0, 20.0)  # 19 values: ceil(20 * 0.9) = 18th
    blocks = np.array([str(i) for i in range(19)])
    assert conformal_offset(residuals, blocks, target=0.9) == 18.0


def test_a_long_block_weighs_no_more_than_a_short_one():
    blocks = np.array(["long"] * 98 + ["a", "b"])
    np.testing.assert_allclose(block_weights(blocks)[[0, 98, 99]], [1 / 294, 1 / 3, 1 / 3])


def test_too_few_blocks_give_the_largest_residual():
    assert conformal_offset(np.array([0.1, 0.4]), np.array(["a", "b"]), target=0.9) == 0.4


def test_impossible_residuals_are_refused():
    with pytest.raises(EvaluationError, match="finite residuals"):
        conformal_offset(np.array([np.nan]), np.array(["a"]), target=0.9)


def test_coverage_by_hand():
    assert coverage(np.array([0.1, 0.5]), np.array([0.1, 0.4])) == 0.5
    assert np.isnan(coverage(np.array([]), np.array([])))
