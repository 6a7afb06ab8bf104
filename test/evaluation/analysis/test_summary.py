"""Tables in the papers' layout, with numbers worked out by hand."""

import numpy as np
import pytest

from semla_ros.core.errors import EvaluationError
from semla_ros.evaluation.analysis.gain import gain
from semla_ros.evaluation.analysis.summary import (
    ResultTable,
    class_table,
    comparison_table,
    contribution_table,
    miou_table,
    swap_table,
    weights_by_domain,
)


@pytest.fixture(scope="module")
def study(made):
    recordings = [
        made.recording(f"{d}-0", (d,) * 40, np.ones(40), np.full(40, miou))
        for d, miou in (("fog-day", 0.6), ("rain-day", 0.3))
    ]
    return made.study(recordings)


def test_domains_are_columns_and_the_means_come_last(study):
    table = miou_table(study)
    assert table.header == ("strategy", "fog-day", "rain-day", "h-mean", "mean")
    semla = next(row for row in table.rows if row[0] == "semla")
    assert semla[1:] == pytest.approx((60.0, 30.0, 40.0, 45.0))


def test_excluded_domains_do_not_count_in_the_means(made, study):
    without = made.study(study.recordings, excluded=("rain-day",))
    semla = next(row for row in miou_table(without).rows if row[0] == "semla")
    assert semla[3:] == pytest.approx((60.0, 60.0))
    assert "without rain-day" in miou_table(without).note


def test_classes_and_costs(study):
    assert [row[0] for row in class_table(study).rows] == ["road", "car", "person"]
    costs = {row[0]: row for row in swap_table(study).rows}
    assert costs["zero-shot"][5] == pytest.approx(-20.0)


def test_an_adapters_contribution_is_against_the_base(made):
    rows = np.full(10, 0.5)
    results = {
        "zero-shot": made.result("zero-shot", rows),
        "oracle": made.result("oracle", rows + 0.2),
        "fixed:rain-day=1": made.result("fixed:rain-day=1", rows - 0.1),
    }
    one = made.recording("fog-day", ("fog-day",) * 10, rows, rows, results=results)
    table = contribution_table(made.study([one], strategies=tuple(results)))
    assert table.header == ("class", "rain-day=1", "fog-day")
    assert table.rows[0][1:] == pytest.approx((-10.0, 20.0))


def test_weights_are_means_over_frames(made, study):
    assert weights_by_domain(study, "semla")["fog-day"]["fog-day"] == 1.0
    assert weights_by_domain(study, "nobody") == {}


def test_studies_compare_on_common_domains(made, study):
    fewer = made.study(study.recordings[:1])
    table = comparison_table([study, fewer], ["a", "b"])
    assert table.header == ("study", "strategy", "fog-day", "h-mean", "mean")
    assert len(table.rows) == 6


def test_studies_without_a_common_domain_show_their_own_means(made, study):
    one, two = (made.study([r]) for r in study.recordings)
    table = comparison_table([one, two], ["a", "b"])
    assert table.header == ("study", "strategy", "h-mean", "mean")
    means = {(row[0], row[1]): row[2] for row in table.rows}
    assert means["a", "semla"] == pytest.approx(60.0)
    assert means["b", "semla"] == pytest.approx(30.0)
    assert "no domain in common" in table.note


def test_a_row_of_another_length_is_refused():
    with pytest.raises(EvaluationError, match="rows of 2 cells"):
        ResultTable("x", "x", ("a", "b"), (("only",),))


def test_a_sure_gain_has_an_interval_above_zero(study):
    found = gain(study, "semla", "zero-shot")
    assert found.points == pytest.approx(20.0)
    assert found.low == found.high == pytest.approx(20.0), "every chunk is alike"
    assert found.better == ("fog-day", "rain-day")


def test_noise_gives_an_interval_around_zero(made):
    rng = np.random.default_rng(4)
    base = rng.uniform(0.3, 0.7, 400)
    results = {
        "zero-shot": made.result("zero-shot", base),
        "semla": made.result("semla", np.clip(base + rng.normal(0, 0.1, 400), 0, 1)),
    }
    one = made.recording("fog-day", ("fog-day",) * 400, base, base, results=results)
    found = gain(made.study([one], strategies=tuple(results)), "semla", "zero-shot")
    assert found.low < 0 < found.high
    assert gain(made.study([one], strategies=tuple(results)), "semla", "nobody") is None
