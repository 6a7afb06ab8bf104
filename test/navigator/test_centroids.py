"""A library of thousands answers as a small one does, only quicker."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from semla_ros.errors import LibraryError
from semla_ros.library.retrieval import RetrievalSettings, retrieve
from semla_ros.navigator import centroids
from semla_ros.navigator.centroids import MANY, CentroidBank
from semla_ros.navigator.distance import (
    cosine,
    euclidean,
    look_up,
    look_up_novelties,
    novelties,
)
from semla_ros.navigator.support import distances_to, read_support
from semla_ros.types import AdapterMix, DomainEstimate

WIDTH = 48
MEASURES = {"euclidean": euclidean, "cosine": cosine, "novelty": novelties}


def points(count, seed=0, *, offset=5.0):
    """Centroids as CLIP's are: all far from the origin in one direction, near to each other."""
    rng = np.random.default_rng(seed)
    made = offset * np.ones(WIDTH) + rng.standard_normal((count, WIDTH)) * 0.4
    return made.astype(np.float32).astype(np.float64)


def whitening():
    rng = np.random.default_rng(3)
    axes = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    return axes @ np.diag(np.sqrt(rng.uniform(0.5, 200.0, WIDTH)))


def banks(count, monkeypatch):
    """The same centroids with and without the quick way."""
    names = tuple(f"d{i}" for i in range(count))
    quick = CentroidBank(names, points(count), whitening=whitening())
    monkeypatch.setattr(centroids, "MANY", count)
    plain = CentroidBank(names, points(count), whitening=whitening())
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
    point = points(1)[0].astype(np.float32)
    assert novelties(point, bank) is None
    assert look_up_novelties(point, bank) is None


def grouped(count, seed, *, directions):
    """Centroids that differ in few directions, and next to nothing in the others."""
    rng = np.random.default_rng(seed)
    axes = rng.standard_normal((directions, WIDTH))
    made = rng.standard_normal((count, directions)) @ axes
    return made + 0.05 * rng.standard_normal((count, WIDTH))


def brute(values, count, skip):
    """Return the nearest by the definition: sorted by distance, then by place."""
    allowed = [i for i in range(len(values)) if i not in set(skip)]
    return sorted(sorted(allowed, key=lambda i: (values[i], i))[:count])


def plain_distances(measure, point, bank):
    """Return the distances as small libraries measure them, in float64 throughout."""
    parts = [
        CentroidBank(
            bank.names[i : i + 200],
            bank.centroids[i : i + 200],
            whitening=bank.whitening,
        )
        for i in range(0, len(bank.names), 200)
    ]
    assert all(part.index is None for part in parts)
    return np.concatenate([MEASURES[measure](point, part) for part in parts])


LOOKS = {
    "euclidean": partial(look_up, distance="euclidean"),
    "cosine": partial(look_up, distance="cosine"),
    "novelty": look_up_novelties,
}


@pytest.mark.parametrize("measure", MEASURES)
@examples(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    directions=st.sampled_from([2, 8, WIDTH]),
    count=st.sampled_from([1, 5, 16, 60, 399, 400, 900]),
    skipped=st.sampled_from([0, 3, 380, 399]),
    away=st.sampled_from([0.0, 1e-3, 0.5, 40.0]),
)
def test_the_nearest_are_the_nearest(measure, seed, directions, count, skipped, away):
    rng = np.random.default_rng(seed)
    centroids_ = grouped(400, seed, directions=directions).astype(np.float32).astype(np.float64)
    bank = CentroidBank(tuple(map(str, range(400))), centroids_, whitening=whitening())
    point = (centroids_[7] + away * rng.standard_normal(WIDTH)).astype(np.float32)
    expected = plain_distances(measure, point, bank)
    skip = rng.permutation(400)[:skipped].tolist()
    look = LOOKS[measure](point, bank)
    places, values = look.nearest(count, skip=skip)
    assert places.tolist() == brute(expected, count, skip)
    np.testing.assert_allclose(values, expected[places], rtol=1e-9, atol=1e-9)
    assert look[3] == pytest.approx(expected[3], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("measure", ["euclidean", "cosine"])
def test_of_equal_centroids_the_earlier_ones_are_nearest(measure):
    twins = np.tile(grouped(40, 1, directions=3), (10, 1))
    bank = CentroidBank(tuple(map(str, range(400))), twins, whitening=whitening())
    point = (twins[4] + 1e-3).astype(np.float32)
    places, values = LOOKS[measure](point, bank).nearest(6, skip=[44])
    assert places.tolist() == [4, 84, 124, 164, 204, 244]
    assert len(set(values.tolist())) == 1
    mix = retrieve(bank.names, LOOKS[measure](point, bank), settings=RetrievalSettings(top_k=3))
    assert set(mix.names) == {"4", "44", "84"}


@pytest.mark.parametrize("measure", ["euclidean", "cosine"])
@pytest.mark.parametrize("null", [-1.0, 0.3])
def test_the_mix_the_support_and_the_novelty_are_those_of_all_distances(measure, null):
    bank = CentroidBank(
        tuple(f"d{i}" for i in range(1000)),
        grouped(1000, 2, directions=4),
        whitening=whitening(),
    )
    exclude = frozenset({"d5", "d77", "unheard-of"})
    chosen = RetrievalSettings(temperature=0.1, null_distance=null, exclude=exclude)
    look = partial(look_up, bank=bank, distance=measure)
    active = AdapterMix(("d900", "d3", "gone"), (0.5, 0.3, 0.2))
    for seed in range(5):
        smoothed, raw = grouped(2, 50 + seed, directions=4).astype(np.float32) + bank.centroids[5]
        smoothed, raw = smoothed.astype(np.float32), raw.astype(np.float32)
        lazy = DomainEstimate(
            1,
            smoothed,
            raw,
            bank.names,
            look(smoothed),
            look(raw),
            look_up_novelties(smoothed, bank),
        )
        full = replace(
            lazy,
            distances=plain_distances(measure, smoothed, bank),
            raw_distances=plain_distances(measure, raw, bank),
            novelties=plain_distances("novelty", smoothed, bank),
        )
        one, other = (retrieve(e.names, e.distances, settings=chosen) for e in (lazy, full))
        assert one.names == other.names
        np.testing.assert_allclose(one.weights, other.weights, rtol=1e-9)
        one, other = (
            read_support(e, active, low=0.1, out_of_library=3.0, exclude=exclude)
            for e in (lazy, full)
        )
        assert (one.nearest, one.level) == (other.nearest, other.level)
        for field in ("score", "smoothed", "nearest_distance", "novelty"):
            assert getattr(one, field) == pytest.approx(getattr(other, field), rel=1e-9)
        np.testing.assert_allclose(
            distances_to(active.names, lazy), distances_to(active.names, full), rtol=1e-9
        )


def test_few_directions_decide_without_a_pass_over_all_centroids():
    bank = CentroidBank(tuple(map(str, range(2000))), grouped(2000, 3, directions=4))
    near = (bank.centroids[9] + 1e-3).astype(np.float32)
    look = look_up(near, bank, distance="euclidean")
    assert 9 in look.nearest(5)[0]
    assert "_products" not in vars(look)


def test_where_all_are_asked_for_they_are_those_of_the_function():
    bank = CentroidBank(tuple(map(str, range(300))), points(300))
    look = look_up(points(1)[0].astype(np.float32), bank, distance="cosine")
    expected = cosine(points(1)[0].astype(np.float32), bank)
    np.testing.assert_array_equal(np.asarray(look), expected)
    assert list(look) == expected.tolist()
    assert len(look) == 300


def test_a_point_that_is_no_number_is_refused_by_retrieval():
    bank = CentroidBank(tuple(map(str, range(300))), points(300))
    look = look_up(np.full(WIDTH, np.nan, np.float32), bank, distance="euclidean")
    with pytest.raises(LibraryError, match="finite"):
        retrieve(bank.names, look, settings=RetrievalSettings())
