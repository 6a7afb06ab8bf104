"""The line finds the law behind the data, the bound covers what it has not seen."""

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install '.[evaluate]'")

from semla_ros.core.errors import EvaluationError
from semla_ros.core.mask_signals import SIGNALS
from semla_ros.core.support_calibration import SupportSettings
from semla_ros.evaluation.analysis.calibration import TO_BEAT, calibrate, kept, reliability
from semla_ros.evaluation.analysis.conformal import block_weights, conformal_offset, coverage
from semla_ros.evaluation.analysis.frames import frame_table

SETTINGS = SupportSettings(0.05, 2, "euclidean", "inverse", -1.0)
ENTROPY = SIGNALS.index("class_entropy")


def table_of(study):
    return frame_table([study], strategy="semla")


def test_the_line_finds_the_law(made):
    report = calibrate(table_of(made.calibrated()))
    grid = np.full((10, len(SIGNALS)), 0.5)
    grid[:, ENTROPY] = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(report.line(grid), made.law(grid[:, ENTROPY]), atol=0.03)
    assert not report.refusal
    assert set(report.errors) == set(TO_BEAT)
    assert all(report.error < 0.6 * error for error in report.errors.values())


def test_the_bound_covers_held_out_domains_that_obey_the_law(made):
    study = made.calibrated(frames=24, drives=25)  # 100 blocks: one more costs 1 %
    report = calibrate(table_of(study), target=0.9)
    assert report.coverage == pytest.approx(0.9, abs=0.03)
    assert report.offset == pytest.approx(1.2816 * 0.05, abs=0.012), "90 % of a normal"
    assert {h.domain for h in report.held_out} == set(made.adapters)


def test_few_blocks_make_the_bound_cautious(made):
    report = calibrate(table_of(made.calibrated()), target=0.9)
    assert 0.93 < report.coverage < 0.99, "one more block than 16 might all lie below"


def test_a_domain_that_breaks_the_law_is_seen_in_its_coverage(made):
    study = made.calibrated()
    signals = np.full((60, len(SIGNALS)), 0.9)
    rows = np.full(60, 0.9), np.full(60, 0.1)
    odd = made.recording("odd", ("odd",) * 60, *rows, signals=signals)
    report = calibrate(table_of(made.study([*study.recordings, odd])))
    assert report.worst.domain == "odd"
    assert report.worst.coverage == 0.0


def test_signals_that_tell_nothing_are_refused(made):
    report = calibrate(table_of(made.calibrated(useful=False)))
    assert "no gain beyond the spread over domains" in report.refusal
    assert "\n" not in report.refusal
    with pytest.raises(EvaluationError, match="not worth publishing"):
        report.stored(SETTINGS, made_by="a test")


@pytest.mark.parametrize("rival", ["confidence", "support"])
def test_what_one_signal_alone_tells_is_not_worth_a_promise(made, rival):
    table = table_of(made.calibrated())
    if rival == "support":
        table = replace(table, support=table.mask[:, ENTROPY])
    else:
        table.mask[:, 0] = table.mask[:, ENTROPY]
    assert {"confidence": "mean confidence", "support": "the support score"}[rival] in (
        calibrate(table).refusal
    )


def test_too_few_stretches_are_refused(made):
    report = calibrate(table_of(made.calibrated(drives=2)))  # 8 blocks, 9 for 90 %
    assert "8 unbroken stretches" in report.refusal
    assert "takes 9: evaluate more recordings" in report.refusal
    assert not calibrate(table_of(made.calibrated(drives=3))).refusal


def test_what_is_stored_says_the_same(made):
    table = table_of(made.calibrated(frames=24, drives=25))
    report = calibrate(table)
    stored = report.stored(SETTINGS, made_by="a test")
    inner = report.line.inside(table.mask * 1.0001) & report.line.inside(table.mask * 0.9999)
    for row in table.mask[inner][:20]:
        expected = float(report.line(row[None])[0])
        assert stored.promise(row)[0] == pytest.approx(expected, abs=1e-4)
    fresh = kept(stored, table_of(made.calibrated(seed=9)))
    assert fresh.coverage == pytest.approx(0.9, abs=0.03)
    assert 0.95 * fresh.frames < fresh.promised <= fresh.frames
    assert fresh.error == pytest.approx(0.05 * math.sqrt(2 / math.pi), abs=0.005)


def test_the_expectation_of_a_frame_has_not_seen_its_domain(made):
    table = table_of(made.calibrated(frames=20))
    inside = table.domain == "fog-day"
    before = calibrate(table).expected[inside]
    table.miou[inside] = 0.0
    np.testing.assert_array_equal(calibrate(table).expected[inside], before)


def test_reliability_lies_on_the_diagonal_of_a_calibrated_line(made):
    table = table_of(made.calibrated())
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
    table = frame_table([made.study(recordings)])
    report = calibrate(table)
    assert report.frames == 200
    np.testing.assert_array_equal(np.isfinite(report.expected), table.level == "OK")


def test_too_few_domains_are_named(made):
    one = made.recording("fog", ("fog",) * 9, np.ones(9), np.ones(9))
    with pytest.raises(EvaluationError, match=r"at least 3 domains, got \['fog'\]"):
        calibrate(frame_table([made.study([one])]))


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
