"""Distances: one contract over the dict, and each against an independent computation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semla_ros.core.config import PARAMETERS
from semla_ros.core.errors import ConfigError, LibraryError
from semla_ros.navigator.distance import (
    DISTANCES,
    CentroidBank,
    cosine,
    euclidean,
    mahalanobis,
    mahalanobis_precisions,
    novelties,
    pooled_whitening,
)

NAMES = ("fog", "night", "rain")


@pytest.fixture(scope="module")
def clouds():
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal((600, 4)) * rng.uniform(0.5, 3, 4) + rng.normal(0, 8, 4) for _ in NAMES
    ]


@pytest.fixture(scope="module")
def bank(clouds):
    precisions = mahalanobis_precisions(
        NAMES, [np.cov(c.T) for c in clouds], counts=[600] * 3, ridge=1e-9
    )
    return CentroidBank(NAMES, np.stack([c.mean(axis=0) for c in clouds]), precisions)


@pytest.mark.parametrize("name", sorted(DISTANCES))
@given(seed=st.integers(0, 10**6))
def test_every_distance_is_finite_and_above_zero(bank, name, seed):
    point = np.random.default_rng(seed).normal(0, 9, 4).astype(np.float32)
    distances = DISTANCES[name](point, bank)
    assert distances.shape == (3,)
    assert distances.dtype == np.float64
    assert np.isfinite(distances).all()
    assert (distances >= 1e-6).all()


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_a_centroid_is_nearest_to_itself(bank, name):
    for index, centroid in enumerate(bank.centroids):
        distances = DISTANCES[name](centroid.astype(np.float32), bank)
        assert np.argmin(distances) == index


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_an_empty_bank_has_no_distances(name):
    empty = CentroidBank((), np.zeros((0, 4)), np.zeros((0, 4, 4)))
    assert DISTANCES[name](np.ones(4, np.float32), empty).shape == (0,)


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_another_length_is_refused(bank, name):
    with pytest.raises(LibraryError, match=r"shape \(4,\), got \(5,\)"):
        DISTANCES[name](np.ones(5, np.float32), bank)


def test_euclidean_by_hand():
    bank = CentroidBank(("a", "b"), np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(euclidean(np.zeros(2, np.float32), bank), [5.0, 1e-6])


def test_cosine_is_small_where_near():
    """SemLA's option of that name sorts the other way round and picks the farthest domain."""
    bank = CentroidBank(("same", "across", "against"), np.array([[9.0, 0], [0, 2], [-1, 0]]))
    np.testing.assert_allclose(
        cosine(np.array([2, 0], np.float32), bank), [1e-6, 1.0, 2.0], atol=1e-12
    )


def test_cosine_of_nothing_is_finite():
    bank = CentroidBank(("zero",), np.zeros((1, 2)))
    assert np.isfinite(cosine(np.zeros(2, np.float32), bank)).all()


def test_mahalanobis_is_the_textbooks(bank, clouds):
    spatial = pytest.importorskip("scipy.spatial.distance", reason="scipy is not installed")
    point = np.array([1.0, -2.0, 0.5, 3.0], np.float32)
    expected = [
        spatial.mahalanobis(point, c.mean(axis=0), np.linalg.inv(np.cov(c.T))) for c in clouds
    ]
    np.testing.assert_allclose(mahalanobis(point, bank), expected, rtol=1e-5)


def test_a_singular_covariance_is_regularised():
    flat = np.diag([1.0, 0.0, 0.0])
    precisions = mahalanobis_precisions(["a"], [flat], counts=[500], ridge=0.3)
    np.testing.assert_allclose(np.diag(precisions[0]), [1 / 1.1, 10.0, 10.0])
    nothing = mahalanobis_precisions(["a"], [np.zeros((3, 3))], counts=[500])
    assert np.isfinite(nothing).all()


def test_thin_domains_are_refused_by_name():
    cov = np.eye(2)
    with pytest.raises(LibraryError, match=r"\{'b': 499, 'c': None, 'd': 900\}"):
        mahalanobis_precisions(
            ["a", "b", "c", "d"], [cov, cov, cov, None], counts=[500, 499, None, 900]
        )


@pytest.mark.parametrize("ridge", [0.0, -1.0, math.nan])
def test_no_regularisation_is_refused(ridge):
    with pytest.raises(ConfigError, match="ridge"):
        mahalanobis_precisions(["a"], [np.eye(2)], counts=[500], ridge=ridge)


def test_mahalanobis_without_covariances_says_what_to_do():
    with pytest.raises(LibraryError, match="generate the statistics"):
        mahalanobis(np.ones(2, np.float32), CentroidBank(("a",), np.ones((1, 2))))


@pytest.mark.parametrize(
    ("centroids", "precisions"),
    [(np.ones((2, 4)), None), (np.ones(4), None), (np.ones((3, 4)), np.ones((3, 4, 5)))],
)
def test_a_bank_of_other_shapes_is_refused(centroids, precisions):
    with pytest.raises(LibraryError, match="expected"):
        CentroidBank(NAMES, centroids, precisions)


def test_the_configuration_offers_what_exists():
    assert set(PARAMETERS["distance"].choices) == {"bundle", *DISTANCES}


def test_novelty_is_the_distance_in_units_of_the_spread_within_domains():
    covariances = [np.diag([4.0, 1.0]), np.diag([2.0, 3.0])]
    turn = pooled_whitening(covariances, counts=[300, 300])
    np.testing.assert_allclose(turn @ turn.T, np.diag([1 / 3, 1 / 2]), rtol=2e-3)
    bank = CentroidBank(("a", "b"), np.array([[0.0, 0.0], [3.0, 0.0]]), None, turn)
    found = novelties(np.array([0.0, 2.0], np.float32), bank)
    np.testing.assert_allclose(found, [2**0.5, (3 + 2) ** 0.5], rtol=1e-3)


@pytest.mark.parametrize(
    ("covariances", "counts"),
    [([None, None], [900, 900]), ([], []), ([np.eye(2), np.eye(2)], [499, None])],
)
def test_novelty_is_unknown_without_enough_images(covariances, counts):
    assert pooled_whitening(covariances, counts=counts) is None
    bank = CentroidBank(("a",), np.zeros((1, 2)))
    assert novelties(np.zeros(2, np.float32), bank) is None


def test_a_domain_that_does_not_know_its_spread_takes_that_of_the_others():
    known = [np.diag([4.0, 1.0]), np.diag([2.0, 3.0])]
    of_two = pooled_whitening(known, counts=[300, 500])
    of_four = pooled_whitening([known[0], None, known[1], np.eye(2)], counts=[300, 90, 500, None])
    np.testing.assert_array_equal(of_four, of_two)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 400])
def test_many_domains_are_measured_as_few_are(count):
    rng = np.random.default_rng(count)
    places, root = rng.normal(5, 0.4, (count, 12)), rng.standard_normal((12, 12))
    point = rng.normal(5, 0.4, 12).astype(np.float32)
    bank = CentroidBank(tuple(map(str, range(count))), places, whitening=root)
    one_by_one = [math.dist(place, point) for place in places]
    np.testing.assert_allclose(euclidean(point, bank), one_by_one, rtol=1e-12)
    turned = [math.dist(place @ root, point.astype(np.float64) @ root) for place in places]
    np.testing.assert_allclose(novelties(point, bank), turned, rtol=1e-9)
