"""The line is scikit-learn's ridge regression, and holding out holds out."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install '.[evaluate]'")
from sklearn.linear_model import LinearRegression, Ridge

from semla_ros.core.mask_signals import SIGNALS
from semla_ros.evaluation.analysis.frames import frame_table
from semla_ros.evaluation.analysis.line import domain_error, domain_weights, fit_line, held_out


def synthetic(frames=400, seed=0):
    rng = np.random.default_rng(seed)
    signals = rng.normal([0.6, 0.5, 1.2, 6.0], [0.1, 0.1, 1.0, 3.0], (frames, 4))
    signals[:, 1] = signals[:, 0] + rng.normal(0, 0.01, frames)  # collinear, as the real ones are
    miou = 0.4 + signals @ [0.3, -0.1, 0.05, 0.01] - 0.3 + rng.normal(0, 0.02, frames)
    domains = rng.choice(["a", "b", "c"], frames, p=[0.7, 0.2, 0.1])
    return signals, miou, domains


@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_it_is_ridge_regression_on_standardised_signals(penalty):
    signals, miou, domains = synthetic()
    weights = domain_weights(domains)
    line = fit_line(signals, miou, domains, penalty=penalty)
    standard = (signals - line.mean) / line.scale
    np.testing.assert_allclose(np.average(standard, axis=0, weights=weights), 0, atol=1e-12)
    np.testing.assert_allclose(np.average(standard**2, axis=0, weights=weights), 1)
    ridge = Ridge(alpha=penalty * len(miou)).fit(standard, miou, sample_weight=weights)
    np.testing.assert_allclose(line.coefficient, ridge.coef_, rtol=1e-8)
    assert line.intercept == pytest.approx(ridge.intercept_)
    np.testing.assert_allclose(line(signals), ridge.predict(standard))


def test_without_a_penalty_it_is_least_squares():
    signals, miou, domains = synthetic()
    line = fit_line(signals, miou, domains, penalty=0.0)
    plain = LinearRegression().fit(signals, miou, sample_weight=domain_weights(domains))
    np.testing.assert_allclose(line(signals), plain.predict(signals))


def test_every_domain_weighs_the_same():
    domains = np.array(["long"] * 90 + ["short"] * 10)
    miou = np.where(domains == "long", 0.2, 0.6)
    line = fit_line(np.zeros((100, 0)), miou, domains)
    assert line.intercept == pytest.approx(0.4)
    np.testing.assert_allclose(line(np.zeros((3, 0))), 0.4)


def test_outside_its_range_the_line_goes_on_level_and_says_so():
    signals, miou, domains = synthetic()
    line = fit_line(signals, miou, domains)
    beyond = signals.max(axis=0) + np.eye(4) * 100
    np.testing.assert_array_equal(line(beyond), line(np.tile(signals.max(axis=0), (4, 1))))
    assert not line.inside(beyond).any()
    assert line.inside(signals).all()


def test_a_constant_signal_tells_nothing_and_harms_nothing():
    signals, miou, domains = synthetic()
    signals[:, 3] = 6.0
    assert abs(fit_line(signals, miou, domains).coefficient[3]) < 1e-12
    three = fit_line(signals[:, :3], miou, domains)
    np.testing.assert_allclose(fit_line(signals, miou, domains)(signals), three(signals[:, :3]))


def leaking(made, *, frames=60):
    """mIoU depends on the domain alone, and one signal of the mask names the domain."""
    rng = np.random.default_rng(5)
    recordings = []
    for place, domain in enumerate(made.adapters):
        for drive in range(3):
            signals = rng.uniform(0, 1, (frames, len(SIGNALS)))
            signals[:, 2] = place + 1 + rng.normal(0, 1e-3, frames)
            miou = np.full(frames, (0.7, 0.2, 0.6, 0.3)[place]) + rng.normal(0, 0.01, frames)
            name = f"{domain}-{drive}"
            support = rng.uniform(0, 1, frames)
            recordings.append(
                made.recording(name, (domain,) * frames, support, miou, signals=signals)
            )
    return frame_table([made.study(recordings)], strategy="semla")


def test_a_signal_that_names_the_domain_does_not_help(made):
    table = leaking(made)
    constant = domain_error(held_out(table, ()), table)
    fitted = fit_line(table.mask, table.miou, table.domain)
    assert domain_error(fitted(table.mask), table) < constant, "it helps on what it has seen"
    assert domain_error(held_out(table, SIGNALS), table) >= constant, "a leak"


def test_neither_domain_nor_group_is_seen(made):
    table = frame_table([made.calibrated(frames=20)], strategy="semla")
    groups = np.array([b.split(":")[1][-1] for b in table.block])  # number of the drive
    here = (table.domain == "fog-day") & (groups == "1")
    before = held_out(table, SIGNALS, apart=groups)
    table.miou[(table.domain == "fog-day") | (groups == "1")] = 0.0
    after = held_out(table, SIGNALS, apart=groups)
    np.testing.assert_array_equal(after[here], before[here])
    assert (after[~here] != before[~here]).any()


def test_domains_weigh_alike_in_the_error(made):
    table = frame_table([made.calibrated(frames=20)], strategy="semla")
    few = table.where((table.domain != "fog-day") | (np.arange(len(table)) % 10 == 0))
    wrong = np.where(few.domain == "fog-day", few.miou + 0.4, few.miou)
    assert domain_error(wrong, few) == pytest.approx(0.1)
