"""Parameter vectors: round trips, and factors of different starts that are not averaged."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import fake_adapter

from semla_ros.bench.generation.vector import factors_of, flatten, gauge_of, layout_of, unflatten
from semla_ros.core.errors import AdapterMismatchError
from semla_ros.core.types import LoraAdapter, LoraLayer

SHAPES = {"b": (6, 4), "a": (3, 5)}


def from_start(name, *, seed, start=0):
    """An adapter as training from inside W0 exports it: [A; A0], [B, -B0]."""
    own, first = (fake_adapter(name, SHAPES, rank=2, seed=s) for s in (seed, 1000 + start))
    layers = {
        n: LoraLayer(
            np.concatenate([own.layers[n].lora_a, first.layers[n].lora_a]),
            np.concatenate([own.layers[n].lora_b, -first.layers[n].lora_b], axis=1),
            2.0,
        )
        for n in SHAPES
    }
    return LoraAdapter(name, layers, "base:1")


def test_there_and_back():
    adapter = replace(fake_adapter("fog", SHAPES, rank=2), base_model="base:1")
    layout = layout_of(adapter)
    vector = flatten(adapter, layout)
    assert vector.shape == (layout.size,) == (2 * (6 + 4) + 2 * (3 + 5),)
    back = unflatten(vector, layout, name="fog")
    assert back.base_model == "base:1"
    for name, layer in adapter.layers.items():
        np.testing.assert_array_equal(back.layers[name].lora_a, layer.lora_a)
        np.testing.assert_array_equal(back.layers[name].lora_b, layer.lora_b)
        assert back.layers[name].scaling == layer.scaling


def test_the_order_of_layers_does_not_matter():
    adapter = fake_adapter("fog", SHAPES, rank=2)
    turned = replace(adapter, layers=dict(reversed(adapter.layers.items())))
    np.testing.assert_array_equal(
        flatten(adapter, layout_of(adapter)), flatten(turned, layout_of(turned))
    )


def test_a_vector_of_another_length_is_refused():
    layout = layout_of(fake_adapter("fog", SHAPES, rank=2))
    with pytest.raises(AdapterMismatchError, match=r"expected 36 numbers, got \(35,\)"):
        unflatten(np.zeros(35, np.float32), layout, name="fog")


def test_adapters_of_one_start_have_one_gauge_and_a_mean():
    adapters = [from_start("fog", seed=1), from_start("rain", seed=2)]
    assert gauge_of(adapters[0]) == gauge_of(adapters[1])
    vectors, layout = factors_of(adapters)
    mean = unflatten(vectors.mean(axis=0), layout, name="mean")
    np.testing.assert_array_equal(  # the start is still there to be taken out again
        mean.layers["a"].lora_a[2:], adapters[0].layers["a"].lora_a[2:]
    )


@pytest.mark.parametrize(
    "other",
    [from_start("rain", seed=2, start=1), fake_adapter("rain", SHAPES, rank=4, seed=2)],
    ids=["another start", "no start"],
)
def test_means_of_factors_of_different_starts_are_refused(other):
    with pytest.raises(AdapterMismatchError, match=r"one start .*cannot be averaged; sum changes"):
        factors_of([from_start("fog", seed=1), other])


def test_that_refusal_is_right():
    """Two adapters with the same change and other factors: their mean changes something else."""
    fog = fake_adapter("fog", SHAPES, rank=2)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]], np.float32)
    turned = replace(
        fog,
        layers={
            n: replace(x, lora_a=turn @ x.lora_a, lora_b=x.lora_b @ turn.T)
            for n, x in fog.layers.items()
        },
    )
    vectors, layout = factors_of([fog, turned], gauge="pretended")
    mean = unflatten(vectors.mean(axis=0), layout, name="mean").layers["b"]
    change = fog.layers["b"].lora_b @ fog.layers["b"].lora_a
    np.testing.assert_allclose(
        turned.layers["b"].lora_b @ turned.layers["b"].lora_a, change, atol=1e-6
    )
    np.testing.assert_allclose(mean.lora_b @ mean.lora_a, change / 2, atol=1e-6)


def test_other_ranks_are_refused():
    one, other = (fake_adapter("fog", SHAPES, rank=rank) for rank in (2, 4))
    with pytest.raises(AdapterMismatchError, match=r"expected 'a' as \(\(3, 5, 2\), 2.0\)"):
        factors_of([one, other], gauge="same")
