"""Initialisations: the authors' own numbers, and the laws that hold for every layer."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs scipy: scripts/setup --dev")

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.training.initial import INITIALISERS, RRQR, Ranks, start_of

SHAPES = ("w48x32", "w32x48", "w64x64", "w40x40_rank25")


@pytest.fixture(scope="module")
def expected():
    with np.load(Path(__file__).parent / "data" / "recycle_expected.npz") as file:
        return dict(file)


def _start(init, weight, ranks, alpha):
    return start_of(init, weight, ranks, alpha=alpha, rng=np.random.default_rng(0))


@pytest.mark.parametrize("ranks", [Ranks(4, 1), Ranks(8, 2)])
@pytest.mark.parametrize("name", SHAPES[:3])
def test_recycled_factors_are_the_authors(expected, name, ranks):
    weight = expected[f"{name}.W0"]
    key = f"{name}.recycle_{ranks.main}_{ranks.sub}"
    start = _start(RRQR, weight, ranks, 1.0)
    for pair, kind in zip(start.pairs, ("main", "sub"), strict=True):
        np.testing.assert_array_equal(pair.a, expected[f"{key}.A_{kind}"])
        np.testing.assert_allclose(pair.b, expected[f"{key}.B_{kind}"], atol=2e-6)
    assert start.scaling == pytest.approx(float(expected[f"{key}.scale"]))
    np.testing.assert_allclose(start.residual(weight), expected[f"{key}.residual"], atol=1e-6)


@pytest.mark.parametrize("rank", [4, 8])
@pytest.mark.parametrize(
    ("init", "key", "scaling"), [("soma", "soma", 1.0), ("pissa", "pissa", 2.0)]
)
@pytest.mark.parametrize("name", SHAPES)
def test_singular_triplets_are_the_authors(expected, name, init, key, scaling, rank):
    weight = expected[f"{name}.W0"]
    start = _start(init, weight, Ranks(rank), scaling * rank)
    stored = f"{name}.{key}_{rank}"
    product = start.scaling * start.stacked.b @ start.stacked.a
    theirs = expected[f"{stored}.scale"] * expected[f"{stored}.B"] @ expected[f"{stored}.A"]
    np.testing.assert_allclose(product, theirs, atol=5e-6)
    np.testing.assert_allclose(start.residual(weight), expected[f"{stored}.residual"], atol=5e-6)


def test_minor_directions_of_a_rank_deficient_layer_leave_its_range(expected):
    weight = expected["w40x40_rank25.W0"]
    start = _start(RRQR, weight, Ranks(8, 2), 1.0)
    main, sub = start.pairs
    np.testing.assert_allclose(main.b.T @ weight, 0.0, atol=1e-5)
    np.testing.assert_allclose(sub.b, expected["w40x40_rank25.recycle_8_2.B_sub"], atol=2e-6)


@pytest.mark.parametrize("shape", [(48, 32), (32, 48), (16, 64), (40, 40)])
def test_columns_are_orthonormal_and_rows_pick_distinct_inputs(shape):
    weight = np.random.default_rng(3).standard_normal(shape, dtype=np.float32)
    stacked = _start(RRQR, weight, Ranks(8, 2), 1.0).stacked
    np.testing.assert_allclose(stacked.b.T @ stacked.b, np.eye(10), atol=1e-6)
    assert set(np.unique(stacked.a)) == {0.0, 1.0}
    assert (stacked.a.sum(axis=1) == 1).all()
    assert stacked.a.sum(axis=0).max() == 1


@pytest.mark.parametrize("init", INITIALISERS)
def test_the_network_starts_as_the_base(init):
    weight = np.random.default_rng(4).standard_normal((24, 40), dtype=np.float32)
    start = _start(init, weight, Ranks(6, 2), 4.0)
    used = start.residual(weight) + start.scaling * start.stacked.b @ start.stacked.a
    np.testing.assert_allclose(used, weight, atol=1e-5)
    same = start_of(
        init, weight.astype(np.float16), Ranks(6, 2), alpha=4.0, rng=np.random.default_rng(0)
    )
    assert same.stacked.b.dtype == np.float32


def test_the_change_to_the_weight_has_the_norm_the_paper_gives():
    weight = np.random.default_rng(5).standard_normal((64, 48), dtype=np.float32)
    start = _start(RRQR, weight, Ranks(32, 4), 1.0)
    assert np.linalg.norm(weight - start.residual(weight)) == pytest.approx(1 / 6, abs=1e-6)


def test_ranks_are_held_against_the_layer():
    weight = np.ones((8, 16), np.float32)
    with pytest.raises(TrainingError, match=r"rank of 1 to 8 .* got 9: lower the rank"):
        _start(RRQR, weight, Ranks(8, 1), 1.0)
    with pytest.raises(TrainingError, match="expected an init"):
        _start("svd", weight, Ranks(8), 1.0)
    with pytest.raises(TrainingError, match="rank of at least 1"):
        Ranks(0)
