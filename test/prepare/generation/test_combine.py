"""Experts to one adapter: the sum of changes, the library's rank, and sizes it has shown."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import fake_adapter

from semla_ros.core.errors import LibraryError
from semla_ros.library.fusion import fused
from semla_ros.prepare.generation.combine import change_norm, combine, span_of, within

SHAPES = {"a": (12, 10), "b": (9, 14)}


def change(layer):
    return layer.scaling * layer.lora_b.astype(np.float64) @ layer.lora_a


def library(*ranks):
    return [fake_adapter(f"d{i}", SHAPES, rank=r, seed=i) for i, r in enumerate(ranks)]


def test_fused_changes_are_the_weighted_sum_whatever_the_ranks_and_signs():
    adapters = library(2, 3, 4)
    weights = {"d0": 0.7, "d1": -0.2, "d2": 0.5}
    made = fused(adapters, weights, name="made")
    for name in SHAPES:
        wanted = sum(weights[a.name] * change(a.layers[name]) for a in adapters)
        np.testing.assert_allclose(change(made.layers[name]), wanted, atol=1e-5)


def test_an_expert_that_is_not_there_is_refused():
    with pytest.raises(LibraryError, match=r"missing \['d9'\]"):
        fused(library(2), {"d9": 1.0}, name="made")


def test_one_expert_alone_is_itself():
    adapters = library(3, 3, 3)
    found = combine(adapters, {"d1": 1.0}, name="made")
    assert found.nearest == "d1"
    assert found.distance < 1e-6
    assert found.error < 1e-6
    for name in SHAPES:
        layer = found.adapter.layers[name]
        assert len(layer.lora_a) == 3
        np.testing.assert_allclose(change(layer), change(adapters[1].layers[name]), atol=1e-5)


def test_the_library_bounds_rank_and_size():
    adapters = library(2, 4, 3)
    found = combine(adapters, {"d0": 0.34, "d1": 0.33, "d2": 0.33}, name="made")
    span = span_of(adapters)
    assert found.scaled == len(SHAPES), "changes that disagree cancel"
    assert 0 < found.error < 1
    for name in SHAPES:
        layer = found.adapter.layers[name]
        assert len(layer.lora_a) == 4
        np.testing.assert_allclose(change_norm(layer), span[name][0], rtol=1e-5)
        np.testing.assert_allclose(change_norm(layer), np.linalg.norm(change(layer)), rtol=1e-5)


def test_what_is_too_large_shrinks_and_what_fits_stays():
    adapters = library(2, 2)
    span = span_of(adapters)
    big = fused(adapters[:1], {"d0": 50.0}, name="big")
    found, scaled = within(big, span)
    assert scaled == len(SHAPES)
    assert all(change_norm(found.layers[n]) <= span[n][1] * (1 + 1e-5) for n in SHAPES)
    same, scaled = within(adapters[0], span)
    assert scaled == 0
    assert all(same.layers[n] is adapters[0].layers[n] for n in SHAPES)


def test_a_layer_that_few_adapters_change_keeps_its_small_share():
    adapters = library(2, 2, 2)
    shared, own = sorted(SHAPES)[:2]
    adapters = [
        replace(a, layers={shared: a.layers[shared]} | ({own: a.layers[own]} if not i else {}))
        for i, a in enumerate(adapters)
    ]
    found = combine(adapters, {"d0": 0.02, "d1": 0.49, "d2": 0.49}, name="made")
    expected = 0.02 * change_norm(adapters[0].layers[own])
    np.testing.assert_allclose(change_norm(found.adapter.layers[own]), expected, rtol=1e-4)
