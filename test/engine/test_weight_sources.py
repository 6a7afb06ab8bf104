"""Every engine has its weights written into its own buffers, wherever they come from."""

from dataclasses import replace

import numpy as np
import pytest

from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import EngineError, SemlaError
from semla_ros.core.types import AdapterMix, LoraAdapter, LoraLayer
from semla_ros.core.weights import UNCHANGED, ArrayWeights, array_of
from semla_ros.engine.slot_buffers import SlotBuffers
from semla_ros.library.fusion import MergedWeights


def adapter(name, layers, seed, *, size=0.2):
    rng = np.random.default_rng(seed)
    return LoraAdapter(
        name,
        {
            layer.name: LoraLayer(
                rng.normal(0, size, (2 + seed, layer.shape[1])).astype(np.float32),
                rng.normal(0, size, (layer.shape[0], 2 + seed)).astype(np.float32),
                2.0,
            )
            for layer in layers
        },
    )


@pytest.fixture
def merged_set(engine, engine_set):
    """Return a factory of merged sets: shares of the adapters a and b."""
    layers = list(engine.facts.layers.values())[:2]
    rng = np.random.default_rng(5)
    base = BaseWeights(
        {x.name: rng.normal(0, 0.1, x.shape).astype(np.float32) for x in layers},
        transposed={x.name for x in layers if x.transposed},
    )
    made = [adapter("a", layers, 1), adapter("b", layers[:1], 2)]

    def make(proceed=None, **shares):
        mix = AdapterMix.from_weights(shares)
        merged = MergedWeights(base, made, mix, proceed=proceed)
        return replace(engine_set(3), mix=mix, weights=merged)

    return make


def answer(engine, weight_set, rgb):
    engine.prepare(weight_set)
    engine.commit()
    return engine.infer(rgb, keep_logits=True).logits


def test_merged_weights_and_arrays_give_the_same_bits(engine, merged_set, rgb):
    merged = merged_set(a=0.7, b=0.3)
    arrays = {name: array_of(merged.weights, name) for name in merged.weights.names}
    plain = replace(merged, weights=ArrayWeights(arrays))
    first = answer(engine, merged, rgb)
    np.testing.assert_array_equal(answer(engine, plain, rgb), first)


def test_there_and_back_is_bit_identical(engine, merged_set, rgb):
    mixes = ({"a": 0.7, "b": 0.3}, {"b": 1.0}, {"base": 1.0}, {"a": 1.0})
    first = [answer(engine, merged_set(**mix), rgb) for mix in mixes]
    for mix, expected in zip(mixes[::-1] + mixes, first[::-1] + first, strict=True):
        np.testing.assert_array_equal(answer(engine, merged_set(**mix), rgb), expected)


def test_a_layer_is_merged_once_whatever_the_slot_held_before(engine, merged_set, rgb):
    merged = []
    for share in (0.7, 0.6, 0.5, 0.4):
        weight_set = merged_set(proceed=lambda: merged.append(1), a=share, b=1 - share)
        answer(engine, weight_set, rgb)
        assert len(merged) == len(weight_set.weights.names)
        merged.clear()


def test_another_shape_is_refused_before_anything_is_written(engine, merged_set, rgb):
    before = answer(engine, merged_set(a=1.0), rgb)
    layer = next(iter(engine.facts.layers.values()))
    wrong = BaseWeights({layer.name: np.zeros((3, 5), np.float32)})
    odd = LoraAdapter(
        "a",
        {layer.name: LoraLayer(np.ones((1, 5), np.float32), np.ones((3, 1), np.float32), 1.0)},
    )
    mix = AdapterMix(("a",), (1.0,))
    with pytest.raises(EngineError, match="expected"):
        engine.prepare(replace(merged_set(a=1.0), weights=MergedWeights(wrong, [odd], mix)))
    np.testing.assert_array_equal(engine.infer(rgb, keep_logits=True).logits, before)


class Spoilt:
    """Merged weights whose last layer turns out not to be finite."""

    def __init__(self, whole: MergedWeights) -> None:
        self.whole, self.names, self.shape = whole, whole.names, whole.shape
        *_, self.bad = whole.names

    def write(self, layer, *, out, transposed):
        self._refuse(layer)
        self.whole.write(layer, out=out, transposed=transposed)

    def factors(self, layer):
        self._refuse(layer)
        return self.whole.factors(layer)

    def _refuse(self, layer):
        if layer == self.bad:
            raise EngineError(f"layer {layer!r}: expected a finite change")


def test_a_merge_that_fails_half_way_is_never_published(engine, merged_set, rgb):
    before = answer(engine, merged_set(a=1.0), rgb)
    expected = answer(engine, merged_set(a=0.5, b=0.5), rgb)
    answer(engine, merged_set(a=1.0), rgb)
    broken = merged_set(b=0.9, a=0.1)
    with pytest.raises(SemlaError, match="finite change"):
        engine.prepare(replace(broken, weights=Spoilt(broken.weights)))
    with pytest.raises(EngineError, match="without a prepared"):
        engine.commit()
    np.testing.assert_array_equal(engine.infer(rgb, keep_logits=True).logits, before)
    np.testing.assert_array_equal(answer(engine, merged_set(a=0.5, b=0.5), rgb), expected)


def test_a_thousand_fills_change_no_buffer_but_its_content(hand_made):
    layers = {layer.name: layer for layer in hand_made.bundle.manifest.layers}
    base = BaseWeights.open(hand_made.bundle)
    buffers = SlotBuffers(layers, base)
    arrays = {name: (array, array.copy()) for name, array in buffers.arrays.items()}
    made = [adapter(n, layers.values(), i) for i, n in enumerate("ab")]
    first = AdapterMix(("a", "b"), (0.6, 0.4))
    expected = None
    for turn in range(1000):
        share = 0.6 if turn % 7 == 0 else (turn % 100) / 100
        mix = AdapterMix.from_weights({"a": share, "b": 1 - share})
        buffers.fill(MergedWeights(base, made, mix))
        if mix == first:
            content = {n: a.copy() for n, a in buffers.arrays.items()}
            expected = expected or content
            for name, array in content.items():
                np.testing.assert_array_equal(array, expected[name])
    buffers.fill(UNCHANGED)
    for name, (array, w0) in arrays.items():
        assert buffers.arrays[name] is array
        np.testing.assert_array_equal(array, w0)


def test_threads_fill_with_the_same_bits(hand_made, monkeypatch):
    monkeypatch.setattr("semla_ros.engine.slot_buffers._WORTH_THREADS", 0)
    layers = {layer.name: layer for layer in hand_made.bundle.manifest.layers}
    base = BaseWeights.open(hand_made.bundle)
    one, many = (SlotBuffers(layers, base, threads=threads) for threads in (1, 3))
    made = [adapter("a", layers.values(), 1), adapter("b", list(layers.values())[:1], 2)]
    with pytest.raises(SemlaError, match="finite change"):
        many.fill(Spoilt(MergedWeights(base, made, AdapterMix(("a",), (1.0,)))))
    for mix in (AdapterMix(("a", "b"), (0.6, 0.4)), AdapterMix(("b",), (1.0,))):
        for buffers in (one, many):
            buffers.fill(MergedWeights(base, made, mix))
        for name, array in one.arrays.items():
            np.testing.assert_array_equal(many.arrays[name], array)


@pytest.mark.parametrize("shape", [(5, 3), (1, 7), (7, 1), (1, 1), (300, 41)])
@pytest.mark.parametrize("transposed", [True, False])
def test_arrays_reach_the_graph_bit_for_bit(shape, transposed):
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = weight.T if transposed else weight
    for array in (weight, np.asfortranarray(weight)):
        array.flags.writeable = False
        out = np.zeros(expected.shape, np.float32)
        ArrayWeights({"l": array}).write("l", out=out, transposed=transposed)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    "array",
    [np.ones((2, 2)), np.ones(3, np.float32), np.array([[1, np.nan]], np.float32)],
    ids=["float64", "one axis", "NaN"],
)
def test_arrays_that_are_no_weights_are_refused(array):
    with pytest.raises(EngineError, match="expected"):
        ArrayWeights({"l": array})
