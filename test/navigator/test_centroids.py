"""A library of thousands answers as a small one does, only quicker."""

import numpy as np
import pytest

from semla_ros.errors import LibraryError
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.navigator import centroids
from semla_ros.navigator.centroids import MANY, CentroidBank, CentroidIndex
from semla_ros.navigator.distance import cosine, euclidean, novelties

WIDTH = 48
MEASURES = {"euclidean": euclidean, "cosine": cosine, "novelty": novelties}


def points(count, seed=0, *, offset=5.0):
    """Centroids as CLIP's are: all far from the origin in one direction, near to each other."""
    rng = np.random.default_rng(seed)
    made = offset * np.ones(WIDTH) + rng.standard_normal((count, WIDTH)) * 0.4
    return made.astype(np.float32).astype(np.float64)


def precision():
    rng = np.random.default_rng(3)
    axes = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    inverse = axes @ np.diag(rng.uniform(0.5, 200.0, WIDTH)) @ axes.T
    return (inverse + inverse.T) / 2


def banks(count, monkeypatch):
    """The same centroids with and without the quick way."""
    names = tuple(f"d{i}" for i in range(count))
    quick = CentroidBank(names, points(count), tied_precision=precision())
    monkeypatch.setattr(centroids, "MANY", count)
    plain = CentroidBank(names, points(count), tied_precision=precision())
    assert quick.index is not None
    assert plain.index is None
    return quick, plain


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("count", [MANY + 1, 2000])
@pytest.mark.parametrize("where", ["between", "on a centroid", "next to one", "far away"])
def test_the_quick_way_gives_the_same_distances(measure, count, where, monkeypatch):
    quick, plain = banks(count, monkeypatch)
    point = {
        "between": points(1, seed=9)[0],
        "on a centroid": plain.centroids[7],
        "next to one": plain.centroids[7] + 1e-4,
        "far away": points(1, seed=9)[0] + 50.0,
    }[where].astype(np.float32)
    got, expected = (MEASURES[measure](point, bank) for bank in (quick, plain))
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)
    nearest = np.argsort(expected, kind="stable")[:16]
    np.testing.assert_allclose(got[nearest], expected[nearest], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(np.argsort(got, kind="stable")[:16], nearest)


def test_the_same_mix_is_retrieved(monkeypatch):
    quick, plain = banks(1500, monkeypatch)
    settings = RetrievalSettings(temperature=0.05, top_k=5, exclude=frozenset({"d3", "d11"}))
    for seed in range(20):
        point = points(1, seed=100 + seed)[0].astype(np.float32)
        one, other = (
            retrieve(bank.names, euclidean(point, bank), settings=settings)
            for bank in (quick, plain)
        )
        assert one.names == other.names
        np.testing.assert_allclose(one.weights, other.weights, rtol=1e-9)


def test_a_small_library_takes_no_detour():
    assert CentroidBank(tuple("abc"), points(3)).index is None


def test_without_a_spread_there_is_no_novelty():
    names = tuple(f"d{i}" for i in range(MANY + 1))
    bank = CentroidBank(names, points(MANY + 1))
    assert novelties(points(1)[0].astype(np.float32), bank) is None
    with pytest.raises(LibraryError, match="spread"):
        CentroidIndex(points(100), None).novelties(points(1)[0])
