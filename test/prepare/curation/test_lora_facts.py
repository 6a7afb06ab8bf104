"""Arithmetic on factors against the dense matrices they stand for."""

import math

import numpy as np
import pytest

from semla_ros.bundle import GraphWeight
from semla_ros.core.types import LoraAdapter, LoraLayer
from semla_ros.prepare.curation.lora_facts import (
    AGGREGATOR,
    IMAGE,
    OTHER,
    TEXT,
    delta_cosines,
    effective_rank,
    group_of,
    lora_facts,
    robust_z,
    singular_values,
)

VISUAL = "sem_seg_head.predictor.clip_model.visual.transformer.resblocks.0"
SHAPES = {f"{VISUAL}.mlp.c_fc": (12, 8), f"{VISUAL}.mlp.c_proj": (8, 12)}
LAYERS = {
    name: GraphWeight(name, f"{name}.weight", "segmentation", name, False, shape)
    for name, shape in SHAPES.items()
}
QUERY = f"{VISUAL}.attn.q_proj"


def adapter(seed=0, rank=3, scaling=2.0, inert=(), shapes=SHAPES, name="fog"):
    rng = np.random.default_rng(seed)
    layers = {}
    for module, (out, into) in shapes.items():
        a = rng.normal(size=(rank, into)).astype(np.float32)
        b = rng.normal(size=(out, rank)).astype(np.float32)
        layers[module] = LoraLayer(a, b * (module not in inert), scaling)
    return LoraAdapter(name, layers)


def dense(layer):
    return layer.scaling * layer.lora_b.astype(float) @ layer.lora_a.astype(float)


@pytest.mark.parametrize(
    ("name", "graph", "group"),
    [
        (f"{VISUAL}.mlp.c_fc", "segmentation", IMAGE),
        ("sem_seg_head.predictor.clip_model.transformer.resblocks.1.mlp.c_fc", "text", TEXT),
        (
            "sem_seg_head.predictor.transformer.layers.0.attention.MLP.0",
            "segmentation",
            AGGREGATOR,
        ),
        ("image.fc", "segmentation", OTHER),
    ],
)
def test_groups(name, graph, group):
    assert group_of(GraphWeight(name, name, graph, name, False, (1, 1))) == group


def test_singular_values_are_those_of_the_dense_change():
    layer = adapter(scaling=-1.5).layers[f"{VISUAL}.mlp.c_fc"]
    expected = np.linalg.svd(dense(layer), compute_uv=False)[:3]
    np.testing.assert_allclose(singular_values(layer), expected, rtol=1e-9)


def test_a_rank_above_the_layers_own_is_no_trouble():
    layer = adapter(rank=20).layers[f"{VISUAL}.mlp.c_fc"]
    values = singular_values(layer)
    np.testing.assert_allclose(np.sort(values)[-8:], np.sort(np.linalg.svd(dense(layer))[1])[-8:])


def test_the_effective_rank_counts_equal_directions():
    assert effective_rank(np.array([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3)
    assert effective_rank(np.array([5.0, 1e-9])) == pytest.approx(1, abs=1e-6)
    assert effective_rank(np.zeros(3)) == 0


def test_norms_and_ratio_of_a_group():
    whole = adapter()
    facts = lora_facts(whole, LAYERS, dict.fromkeys(SHAPES, 10.0))
    norm = math.sqrt(sum((dense(layer) ** 2).sum() for layer in whole.layers.values()))
    group = facts.groups[IMAGE]
    assert group.norm == pytest.approx(norm)
    assert group.ratio == pytest.approx(norm / math.sqrt(200))
    assert (group.layers, facts.live_modules, facts.fingerprint) == (2, 2, None)


def test_what_never_ran_is_counted_and_tells_the_start_of_training():
    shapes = {**SHAPES, QUERY: (8, 8)}
    one, same, other = (
        lora_facts(
            adapter(seed, inert=(QUERY,), shapes=shapes), LAYERS, dict.fromkeys(SHAPES, 1.0)
        )
        for seed in (0, 0, 1)
    )
    assert (one.tensors, one.inert_tensors, one.inert_qkv) == (6, 2, 1)
    assert one.inert_parameters == 2 * 3 * 8
    assert one.parameters == one.inert_parameters + 2 * 3 * 20
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert set(one.groups) == {IMAGE}


def test_cosines_are_those_of_the_dense_changes():
    half = dict(list(SHAPES.items())[:1])
    adapters = [
        adapter(0, rank=3),
        adapter(1, rank=5, scaling=-0.5),
        adapter(2, rank=2, shapes=half),
        adapter(3, inert=tuple(SHAPES)),
    ]
    vectors = np.stack(
        [
            np.concatenate(
                [
                    dense(a.layers[m]).ravel() if m in a.layers else np.zeros(math.prod(shape))
                    for m, shape in SHAPES.items()
                ]
            )
            for a in adapters
        ]
    )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, norms, where=norms > 0, out=np.zeros_like(vectors))
    np.testing.assert_allclose(delta_cosines(adapters), units @ units.T, atol=1e-9)


def test_a_change_of_gauge_changes_no_cosine():
    """B Q^-1 and Q A are the same change with other factors."""
    plain = adapter(0)
    gauge = np.random.default_rng(9).normal(size=(3, 3))
    turned = LoraAdapter(
        "turned",
        {
            m: LoraLayer(gauge @ x.lora_a, x.lora_b @ np.linalg.inv(gauge), x.scaling)
            for m, x in plain.layers.items()
        },
    )
    np.testing.assert_allclose(delta_cosines([plain, turned]), 1, atol=1e-6)


def test_robust_z_finds_the_odd_one_and_needs_peers():
    scores = robust_z([1.0, 1.1, 0.9, 1.05, 0.95, 4.0])
    assert scores[-1] > 3.5
    assert np.abs(scores[:-1]).max() < 3.5
    assert not robust_z([1.0, 1.0, 1.0, 9.0]).any()
    assert np.abs(robust_z([1.0, 1.001, 0.999, 1.0, 1.002])).max() < 3.5
