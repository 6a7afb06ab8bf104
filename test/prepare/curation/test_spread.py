"""Statistics of embeddings against numpy, and what shrinking promises."""

import numpy as np
import pytest

from semla_ros.core.errors import LibraryError
from semla_ros.library.statistics import MAX_SAMPLE
from semla_ros.prepare.curation.spread import (
    LEVELS,
    blocks_of,
    domain_statistics,
    shrunk_covariance,
)


def rows_of(count, dim, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dim, dim)) * np.geomspace(10, 0.1, dim)[:, np.newaxis]
    return (rng.normal(size=(count, dim)) @ mixing + 100).astype(np.float32)


def chunked(rows, size=7):
    return lambda: (rows[i : i + size] for i in range(0, len(rows), size))


def ledoit_wolf(rows):
    """The paper's formulas, one sample at a time."""
    x = rows.astype(np.float64) - rows.astype(np.float64).mean(axis=0)
    n, p = x.shape
    s = x.T @ x / n
    mu = np.trace(s) / p
    delta2 = ((s - mu * np.eye(p)) ** 2).sum()
    beta2 = sum(((np.outer(row, row) - s) ** 2).sum() for row in x) / n**2
    return min(beta2, delta2) / delta2


def test_centroid_and_leave_one_out_distances():
    rows = rows_of(50, 6)
    statistics = domain_statistics(chunked(rows), encoder="e")
    exact = rows.astype(np.float64)
    np.testing.assert_allclose(statistics.centroid, exact.mean(axis=0), rtol=1e-6)
    apart = [
        np.linalg.norm(row - np.delete(exact, i, axis=0).mean(axis=0))
        for i, row in enumerate(exact)
    ]
    np.testing.assert_allclose(statistics.quantiles.distances, np.quantile(apart, LEVELS))
    assert (statistics.count, statistics.encoder) == (50, "e")


@pytest.mark.parametrize(("count", "dim"), [(4, 12), (30, 12), (4000, 12)])
def test_the_covariance_is_ledoit_and_wolfs(count, dim):
    rows = rows_of(count, dim)
    statistics = domain_statistics(chunked(rows), encoder="e")
    assert statistics.shrinkage == pytest.approx(ledoit_wolf(rows), abs=1e-9)
    sample = np.cov(rows.T.astype(np.float64))
    share = statistics.shrinkage
    target = np.eye(dim) * np.trace(sample) / dim
    np.testing.assert_allclose(
        statistics.covariance, (1 - share) * sample + share * target, rtol=1e-9, atol=1e-9
    )


def test_few_images_shrink_much_and_many_hardly():
    shares = [
        domain_statistics(chunked(rows_of(n, 12)), encoder="e").shrinkage for n in (3, 30, 3000)
    ]
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.01


def test_fewer_images_than_dimensions_still_give_a_full_covariance():
    statistics = domain_statistics(chunked(rows_of(5, 20)), encoder="e")
    assert np.linalg.matrix_rank(statistics.covariance) == 20


def test_the_order_of_reading_in_pieces_hardly_matters():
    rows = rows_of(33, 5)
    mean = rows.mean(axis=0, dtype=np.float64)
    one, many = (shrunk_covariance(chunked(rows, n), mean, count=33) for n in (33, 4))
    np.testing.assert_allclose(one.covariance, many.covariance, rtol=1e-12, atol=1e-9)


def test_one_image_has_a_centroid_alone():
    rows = rows_of(1, 5)
    statistics = domain_statistics(chunked(rows), encoder="e")
    np.testing.assert_array_equal(statistics.centroid, rows[0])
    assert (statistics.covariance, statistics.quantiles, statistics.shrinkage) == (None,) * 3


def test_equal_images_have_no_spread():
    statistics = domain_statistics(chunked(np.ones((9, 3), np.float32)), encoder="e")
    assert not statistics.covariance.any()
    assert not statistics.quantiles.distances.any()


def test_nothing_is_refused():
    with pytest.raises(LibraryError, match="got none"):
        domain_statistics(lambda: iter(()), encoder="e")


def test_a_recording_is_held_out_in_thirds_and_several_whole():
    assert blocks_of(9).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert blocks_of(8, (4, 4)).tolist() == [0] * 4 + [2] * 4
    assert blocks_of(9, (2, 3, 4)).tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2]
    ten = blocks_of(100, (10,) * 10).reshape(10, 10)
    assert all(len(set(each.tolist())) == 1 for each in ten), "no recording is cut"
    assert len(set(ten[:, 0].tolist())) == 3


def test_a_recording_that_is_nearly_all_there_is_is_cut_all_the_same():
    assert np.bincount(blocks_of(90, (80, 10))).tolist() == [30, 30, 30]


def test_the_sample_is_bounded_and_spread_over_all_images():
    rows = np.arange(2000, dtype=np.float32).reshape(1000, 2)
    sample = domain_statistics(chunked(rows), encoder="e").sample
    assert sample.embeddings.shape == (MAX_SAMPLE, 2)
    assert sample.images == 1000
    np.testing.assert_array_equal(sample.embeddings[[0, -1]], rows[[0, -1]])
    assert np.bincount(sample.blocks).tolist() == pytest.approx([85, 85, 86], abs=1)
    few = domain_statistics(chunked(rows[:30]), encoder="e").sample
    np.testing.assert_array_equal(few.embeddings, rows[:30])
