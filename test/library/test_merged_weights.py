"""Laws of merging: exact, from W0, the same bits every time, nothing of full size in between."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import AdapterError, EngineError
from semla_ros.core.types import BASE, AdapterMix, LoraAdapter, LoraLayer
from semla_ros.core.weights import array_of
from semla_ros.library.fusion import MergedWeights

SHAPES = {"wide": (40, 12), "tall": (9, 31), "square": (16, 16), "row": (1, 7)}
NAMES = ("fog", "night", "rain", "snow")


def adapter(name, seed, *, layers=tuple(SHAPES), rank=3, scaling=2.0, shapes=None):
    rng = np.random.default_rng(seed)
    shapes = shapes or SHAPES
    return LoraAdapter(
        name,
        {
            layer: LoraLayer(
                (rng.standard_normal((rank, shapes[layer][1])) * 0.1).astype(np.float32),
                (rng.standard_normal((shapes[layer][0], rank)) * 0.1).astype(np.float32),
                scaling,
            )
            for layer in layers
        },
    )


def base_of(shapes=SHAPES, *, transposed=()):
    rng = np.random.default_rng(99)
    weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    return BaseWeights(weights, transposed=transposed)


@st.composite
def libraries(draw):
    """Adapters of different ranks and scalings, each with some of the layers."""
    made = []
    for seed, name in enumerate(NAMES[: draw(st.integers(1, 4))]):
        layers = draw(st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, unique=True))
        rank, scaling = draw(st.integers(1, 9)), draw(st.sampled_from([0.5, 1.0, 2.0]))
        made.append(adapter(name, seed, layers=layers, rank=rank, scaling=scaling))
    return made


@st.composite
def cases(draw):
    made = draw(libraries())
    shares = draw(st.lists(st.floats(0, 1), min_size=len(made) + 1, max_size=len(made) + 1))
    weights = dict(zip((*(a.name for a in made), BASE), shares, strict=True))
    weights[BASE] += 0.01
    turned = draw(st.lists(st.sampled_from(sorted(SHAPES)), unique=True))
    return made, AdapterMix.from_weights(weights), base_of(transposed=turned)


def exact(base, made, mix, layer):
    total = base.get(layer).astype(np.float64)
    for each in made:
        if layer in each.layers:
            part = each.layers[layer]
            change = part.lora_b.astype(np.float64) @ part.lora_a.astype(np.float64)
            total = total + mix.weight(each.name) * part.scaling * change
    return total


@given(case=cases())
def test_every_layer_is_the_exact_sum(case):
    made, mix, base = case
    merged = MergedWeights(base, made, mix)
    for layer in SHAPES:
        got = array_of(merged, layer) if layer in merged.names else base.get(layer)
        assert got.dtype == np.float32
        assert got.shape == SHAPES[layer]
        np.testing.assert_allclose(got, exact(base, made, mix, layer), rtol=0, atol=1e-6)


@given(case=cases(), data=st.data())
def test_neither_the_librarys_order_nor_the_mixs_changes_a_bit(case, data):
    made, mix, base = case
    pairs = data.draw(st.permutations(list(zip(mix.names, mix.weights, strict=True))))
    shuffled = AdapterMix(tuple(n for n, _ in pairs), tuple(w for _, w in pairs))
    one = MergedWeights(base, made, mix)
    other = MergedWeights(base, data.draw(st.permutations(made)), shuffled)
    assert one.names == other.names
    for layer in one.names:
        np.testing.assert_array_equal(array_of(one, layer), array_of(other, layer))


@given(case=cases())
def test_a_member_without_weight_leaves_no_trace(case):
    made, mix, base = case
    members = {n: w for n, w in zip(mix.names, mix.weights, strict=True) if n != BASE}
    alone = MergedWeights(base, made, mix)
    stranger = adapter("zero", 77, rank=5)
    padded = AdapterMix((*mix.names, "zero"), (*mix.weights, 0.0))
    with_zero = MergedWeights(base, [*made, stranger], padded)
    assert alone.names == with_zero.names
    for layer in alone.names:
        np.testing.assert_array_equal(array_of(alone, layer), array_of(with_zero, layer))
    idle = AdapterMix((BASE, *members), (1.0, *(0.0 for _ in members)))
    assert not MergedWeights(base, made, idle).names


@given(case=cases())
def test_one_hot_is_that_adapter(case):
    made, _, base = case
    for each in made:
        alone = MergedWeights(base, [each], AdapterMix((each.name,), (1.0,)))
        among = AdapterMix(tuple(a.name for a in made), tuple(float(a is each) for a in made))
        hot = MergedWeights(base, made, among)
        assert hot.names == alone.names == each.layers.keys()
        for layer in hot.names:
            np.testing.assert_array_equal(array_of(hot, layer), array_of(alone, layer))


@given(case=cases())
def test_both_layouts_have_the_same_bits(case):
    """Engines differ in layout: what they serve must not differ."""
    made, mix, base = case
    merged = MergedWeights(base, made, mix)
    for layer, (rows, columns) in SHAPES.items():
        if layer in merged.names:
            straight = np.full((rows, columns), np.nan, np.float32)
            turned = np.full((columns, rows), np.nan, np.float32)
            merged.write(layer, out=straight, transposed=False)
            merged.write(layer, out=turned, transposed=True)
            np.testing.assert_array_equal(straight, turned.T)


@given(case=cases())
def test_the_factors_multiply_out_to_the_change(case):
    made, mix, base = case
    merged = MergedWeights(base, made, mix)
    for layer in merged.names:
        factors = merged.factors(layer)
        assert factors.a.dtype == factors.b.dtype == np.float32
        np.testing.assert_allclose(
            base.get(layer) + factors.b.T @ factors.a, array_of(merged, layer), rtol=0, atol=1e-6
        )


LARGE = {"large": (700, 411)}
MIX = AdapterMix(("fog", "rain"), (0.7, 0.3))


def large(*, transposed):
    made = [adapter(n, i, layers=LARGE, rank=8, shapes=LARGE) for i, n in enumerate(MIX.names)]
    return base_of(LARGE, transposed=["large"] if transposed else ()), made


@pytest.mark.parametrize("transposed", [True, False])
def test_a_layer_larger_than_a_tile_is_merged_whole(transposed):
    base, made = large(transposed=transposed)
    merged = array_of(MergedWeights(base, made, MIX), "large")
    np.testing.assert_allclose(merged, exact(base, made, MIX, "large"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("transposed", [True, False])
def test_it_lands_the_same_wherever_the_buffer_lies(transposed):
    base, made = large(transposed=transposed)
    merged = MergedWeights(base, made, MIX)
    shape = LARGE["large"][::-1] if transposed else LARGE["large"]
    results = []
    for offset in (0, 1, 3, 7):
        room = np.empty(shape[0] * shape[1] + 8, np.float32)
        out = room[offset : offset + shape[0] * shape[1]].reshape(shape)
        merged.write("large", out=out, transposed=transposed)
        results.append(out.copy())
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("transposed", [True, False])
def test_nothing_of_full_size_is_made_in_between(transposed):
    base, made = large(transposed=transposed)
    merged = MergedWeights(base, made, MIX)
    shape = LARGE["large"][::-1] if transposed else LARGE["large"]
    out = np.empty(shape, np.float32)
    merged.write("large", out=out, transposed=transposed)
    tracemalloc.start()
    try:
        merged.write("large", out=out, transposed=transposed)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < out.nbytes / 4


def spoilt(value, *, side="lora_a", scaling=1.0):
    ones = {"lora_a": np.ones((2, 16), np.float32), "lora_b": np.ones((16, 2), np.float32)}
    ones[side][0, 0] = value
    return LoraAdapter("bad", {"square": LoraLayer(**ones, scaling=scaling)})


@pytest.mark.parametrize("side", ["lora_a", "lora_b"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_might_not_be_finite_is_refused_and_nothing_is_written(side, value):
    merged = MergedWeights(base_of(), [spoilt(value, side=side)], AdapterMix(("bad",), (1.0,)))
    out = np.full((16, 16), 5.0, np.float32)
    with pytest.raises(AdapterError, match="finite change"):
        merged.write("square", out=out, transposed=False)
    with pytest.raises(AdapterError, match="finite change"):
        merged.factors("square")
    assert (out == 5).all()


@settings(max_examples=200)
@given(
    a=st.floats(width=32, allow_nan=False, allow_infinity=False),
    b=st.floats(width=32, allow_nan=False, allow_infinity=False),
    scaling=st.floats(-1e6, 1e6),
)
def test_what_is_written_is_always_finite(a, b, scaling):
    """The bound on the factors is what stands between a bad adapter and the robot."""
    layer = LoraLayer(np.full((3, 5), a, np.float32), np.full((4, 3), b, np.float32), scaling)
    base = BaseWeights({"w": np.full((4, 5), 1e37, np.float32)})
    merged = MergedWeights(base, [LoraAdapter("x", {"w": layer})], AdapterMix(("x",), (1.0,)))
    try:
        weight = array_of(merged, "w")
    except AdapterError:
        return
    assert np.isfinite(weight).all()


def test_work_that_nobody_wants_any_more_ends_before_the_next_layer():
    asked = []

    def proceed():
        asked.append(1)
        if len(asked) > 1:
            raise EngineError("superseded")

    base, made = base_of(), [adapter("fog", 0)]
    merged = MergedWeights(base, made, AdapterMix(("fog",), (1.0,)), proceed=proceed)
    first, second, *_ = merged.names
    array_of(merged, first)
    with pytest.raises(EngineError, match="superseded"):
        array_of(merged, second)


def test_only_the_wanted_layers_are_there():
    made = [adapter("fog", 0)]
    merged = MergedWeights(base_of(), made, AdapterMix(("fog",), (1.0,)), layers={"wide", "other"})
    assert merged.names == {"wide"}
    assert merged.shape("wide") == (40, 12)
