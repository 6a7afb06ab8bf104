"""The alarm's threshold: laws on simulated libraries, and when it is refused."""

import math

import numpy as np
import pytest
from alarm_law import SCENARIOS, run

from semla_ros.core.novelty import EmbeddingSample
from semla_ros.navigator.distance import CentroidBank, novelties
from semla_ros.navigator.held_out import (
    MIN_IMAGES,
    alarm_threshold,
    domain_widths,
    held_out_distances,
    library_alarm,
    shrunk,
    tied_whitening,
    whitening,
)


def sample(rows, blocks=None):
    blocks = np.arange(len(rows)) * 3 // len(rows) if blocks is None else np.asarray(blocks)
    return EmbeddingSample(np.asarray(rows, np.float32), blocks.astype(np.int64), len(rows))


def shrinkage(rows):
    centred = np.concatenate([each - each.mean(axis=0) for each in rows])
    fourth = float((np.square(centred).sum(axis=1) ** 2).sum())
    return shrunk(centred.T @ centred / len(centred), fourth=fourth, count=len(centred))[1]


def cloud(count, dim, *, seed=0, at=0.0):
    return np.random.default_rng(seed).normal(at, 1.0, (count, dim))


@pytest.mark.parametrize("dim", [64, 544])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_new_frames_of_known_domains_raise_few_alarms(dim, scenario):
    found = run(scenario, dim=dim, images=50, domains=3, runs=4 if dim == 64 else 1)
    assert found.false_alarms <= 0.02
    assert found.found > 0.7


def test_a_threshold_from_the_images_it_is_fitted_to_cries_wolf():
    found = run(SCENARIOS[0], dim=544, images=50, domains=3, runs=1)
    assert found.in_sample > 0.5


def test_whitening_is_the_root_of_the_inverse():
    rows = cloud(400, 5) @ np.diag([1.0, 2.0, 3.0, 4.0, 5.0])
    turn = whitening(np.cov(rows.T))
    np.testing.assert_allclose(np.linalg.inv(turn @ turn.T), np.cov(rows.T), rtol=0.02, atol=0.02)


def test_features_that_never_move_do_no_harm():
    rows = np.concatenate([cloud(60, 3), np.zeros((60, 1))], axis=1)
    assert np.isfinite(tied_whitening([rows])).all()
    assert np.isfinite(tied_whitening([np.zeros((60, 3))])).all()


def test_shrinking_is_scikit_learns():
    sklearn = pytest.importorskip("sklearn.covariance", reason="needs scikit-learn")
    rows = cloud(40, 30)
    rows -= rows.mean(axis=0)
    fourth = float((np.square(rows).sum(axis=1) ** 2).sum())
    ours, share = shrunk(rows.T @ rows / 40, fourth=fourth, count=40)
    theirs, their_share = sklearn.ledoit_wolf(rows, assume_centered=True)
    assert share == pytest.approx(their_share)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_a_held_out_image_is_measured_without_its_block():
    rows = [cloud(30, 4, seed=1), cloud(24, 4, seed=2, at=6.0)]
    found = held_out_distances([sample(each) for each in rows])
    kept = [each[len(each) // 3 :] for each in rows]
    known = [np.asarray(each, np.float32).astype(float) for each in kept]
    centred = np.concatenate([each - each.mean(axis=0) for each in known])
    covariance = centred.T @ centred / (len(centred) - 2)
    share = shrinkage([np.asarray(each, np.float32).astype(float) for each in rows])
    level = np.eye(4) * np.trace(covariance) / 4
    turn = whitening((1 - share) * covariance + share * level)
    places = [np.asarray(each, np.float32).astype(float).mean(axis=0) for each in kept]
    first = np.float32(rows[0][0]).astype(float)
    expected = [float(np.linalg.norm((first - place) @ turn)) for place in places]
    assert found[0][0].tolist() == pytest.approx(expected)
    assert [each.shape for each in found] == [(30, 2), (24, 2)]


def test_a_domain_counts_half_by_its_own_width():
    wide, narrow = np.full((9, 2), 8.0), np.full((9, 2), 2.0)
    assert domain_widths([wide, narrow]).tolist() == pytest.approx([2**0.5, 0.5**0.5])


def test_more_images_bring_the_threshold_down_to_the_quantile():
    rng = np.random.default_rng(0)
    few, many = (alarm_threshold([np.exp(rng.normal(0, 0.3, n))]) for n in (50, 20_000))
    quantile = math.exp(0.3 * 2.3263)
    assert quantile < many < 1.02 * quantile < few


def test_heavy_tails_are_told_by_the_order_statistic():
    novelties = np.concatenate([np.linspace(1.0, 1.1, 950), np.full(50, 9.0)])
    assert alarm_threshold([novelties]) == 9.0


def test_a_library_says_from_when_on_or_why_never():
    enough, few = sample(cloud(MIN_IMAGES, 3)), sample(cloud(MIN_IMAGES - 1, 3))
    alarm = library_alarm(("a", "b"), (enough, enough))
    assert alarm.threshold > 1.0
    assert alarm.reason == ""
    refused = library_alarm(("a", "b"), (enough, few))
    assert refused.threshold == 0.0
    assert "49 images of domain 'b' for 3 dimensions, needs 50" in refused.reason
    assert "0 images of domain 'b'" in library_alarm(("a", "b"), (enough, None)).reason
    assert library_alarm(("a",), (None,)) is None
    assert library_alarm((), ()).threshold > 1e300


def test_a_domain_without_images_makes_nothing_known_and_silences_nothing():
    names = ("fog", "made", "rain")
    samples = [sample(cloud(60, 4)), None, sample(cloud(60, 4, seed=1, at=9.0))]
    alone = library_alarm(("fog", "rain"), [samples[0], samples[2]])
    beside = library_alarm(names, samples, unseen={"made"})
    assert beside.threshold == alone.threshold > 0
    assert beside.widths == (alone.widths[0], 0.0, alone.widths[1])
    assert library_alarm(names, samples).reason.startswith("no alarm: 0 images of domain 'made'")


def test_a_library_of_such_domains_alone_knows_nothing():
    alarm = library_alarm(("made",), (None,), unseen={"made"})
    bank = CentroidBank(("made",), np.ones((1, 4)), alarm=alarm)
    novelty = novelties(np.ones(4, np.float32), bank)
    assert novelty.tolist() == [math.inf]
    assert novelty[0] > alarm.threshold > 0
