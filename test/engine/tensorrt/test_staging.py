import cv2
import numpy as np
import pytest

from semla_ros.bundle import GraphWeight
from semla_ros.engine.tensorrt import probe, staging
from semla_ros.engine.tensorrt.probe import nudged
from semla_ros.engine.tensorrt.refit_map import Prototype, refit_dtypes
from semla_ros.engine.tensorrt.staging import ALIGNMENT, HostBlock, Layout
from semla_ros.errors import EngineError
from semla_ros.lazy_weights import LazyWeights

LAYERS = {
    "wide": GraphWeight("wide", "w", "segmentation", "g.wide", True, (7, 33)),
    "plain": GraphWeight("plain", "p", "segmentation", "g.plain", False, (5, 3)),
}
BASE = {
    name: np.random.default_rng(i).normal(size=layer.shape).astype(np.float32)
    for i, (name, layer) in enumerate(LAYERS.items())
}


def make(dtype="f4") -> HostBlock:
    layout = Layout.of(LAYERS, dict.fromkeys(LAYERS, dtype))
    return HostBlock(layout, BASE, np.full(layout.nbytes, 255, np.uint8))


def test_places_are_aligned_and_do_not_overlap():
    layout = Layout.of(LAYERS, {"wide": np.float16, "plain": np.float32})
    places = list(layout.places.values())
    assert all(place.offset % ALIGNMENT == 0 for place in places)
    assert places[0].offset + places[0].nbytes <= places[1].offset
    assert places[1].offset + places[1].nbytes <= layout.nbytes
    assert (places[0].nbytes, places[1].nbytes) == (7 * 33 * 2, 5 * 3 * 4)


@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_a_block_holds_the_graphs_layout_rounded_once(dtype):
    block = make(dtype)
    new = {"wide": np.arange(7 * 33, dtype=np.float32).reshape(7, 33) / 3}
    block.write(new)
    np.testing.assert_array_equal(block.arrays["wide"], new["wide"].T.astype(dtype))
    np.testing.assert_array_equal(block.arrays["plain"], BASE["plain"].astype(dtype))
    place = block.layout.places["wide"]
    held = block.memory[place.offset : place.offset + place.nbytes].view(dtype)
    np.testing.assert_array_equal(held, block.arrays["wide"].reshape(-1))


def test_lazy_weights_are_merged_into_the_block():
    class Lazy(LazyWeights):
        def __contains__(self, layer):
            return layer == "wide"

        def __iter__(self):
            return iter(["wide"])

        def __len__(self):
            return 1

        def __getitem__(self, layer):
            raise AssertionError("no copy of full size is made")

        def shape(self, layer):
            return (7, 33)

        def factors(self, layer):
            raise AssertionError("not asked for")

        def write(self, layer, *, out, transposed):
            assert transposed
            out[:] = 4

    block = make()
    block.write(Lazy())
    assert (block.arrays["wide"] == 4).all()


def test_equal_sets_have_equal_fingerprints_and_distances_tell_sets_apart():
    one, two = make(), make()
    base = one.staged
    new = {name: (w * 1.1).astype(np.float32) for name, w in BASE.items()}
    assert one.write(new).fingerprint == two.write(new).fingerprint != base.fingerprint
    assert one.staged.distance(base) == pytest.approx(0.1, rel=1e-3)
    assert one.write({}).fingerprint == base.fingerprint


def test_a_value_beyond_fp16_is_refused_by_name():
    block = make("f2")
    with pytest.raises(EngineError, match=r"'plain'.*65504.*precision fp32"):
        block.write({"plain": np.full((5, 3), 1e5, np.float32)})
    block.write({})
    np.testing.assert_array_equal(block.arrays["plain"], BASE["plain"].astype("f2"))


def test_an_opencv_that_does_not_know_float16_leaves_it_to_numpy(monkeypatch):
    monkeypatch.delattr(staging.cv2, "CV_16F", raising=False)  # Ubuntu 24.04's 4.6 has none
    staging._opencv_rounds.cache_clear()
    out = np.zeros((1, 2), np.float16)
    try:
        staging.to_half(np.float32([[1.5, -2.25]]), out=out)
    finally:
        staging._opencv_rounds.cache_clear()
    assert out.tolist() == [[1.5, -2.25]]


@pytest.mark.parametrize("opencv", [True, False])
def test_rounding_is_to_the_nearest_half_ties_to_even(opencv, monkeypatch):
    if opencv and not staging._opencv_rounds():
        pytest.skip(f"OpenCV {cv2.__version__} does not round to float16")
    monkeypatch.setattr(staging, "_opencv_rounds", lambda: opencv)
    bits = np.arange(0, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (bits[:-1] + bits[1:]) / 2
    near = np.concatenate([bits[:-1], ties, np.nextafter(ties, 0), np.nextafter(ties, 9e9)])
    wide = np.concatenate([near, -near]).reshape(8, -1).astype(np.float32)
    out = np.zeros(wide.shape, np.float16)
    staging.to_half(wide, out=out)
    np.testing.assert_array_equal(out, wide.astype(np.float16))


NAMES = ["g.wide", "g.plain"]
GOOD = {"g.wide": Prototype("HALF", 231), "g.plain": Prototype("FLOAT", 15)}


def test_each_weight_gets_the_type_its_prototype_has():
    wanted = refit_dtypes(LAYERS, refittable=NAMES, prototypes=GOOD, only_ours=True)
    assert wanted == {"wide": np.float16, "plain": np.float32}


def test_without_prototypes_everything_is_fp32():
    wanted = refit_dtypes(LAYERS, refittable=NAMES, prototypes={}, only_ours=False)
    assert set(wanted.values()) == {np.float32}


@pytest.mark.parametrize(
    ("names", "prototypes", "told"),
    [
        (NAMES[:1], GOOD, r"missing 1 \['g.plain'\]"),
        ([*NAMES, "bias"], GOOD, r"unexpected 1 \['bias'\]"),
        (NAMES, {**GOOD, "g.plain": Prototype("FLOAT", 14)}, "15 values.*wants 14"),
        (NAMES, {**GOOD, "g.plain": Prototype("INT8", 15)}, "wants 15 of INT8"),
        (NAMES, {**GOOD, "g.plain": Prototype("BF16", 15)}, "BF16"),
    ],
)
def test_other_names_counts_and_types_are_refused(names, prototypes, told):
    with pytest.raises(EngineError, match=told):
        refit_dtypes(LAYERS, refittable=names, prototypes=prototypes, only_ours=True)


def test_other_refittable_weights_are_fine_where_all_are():
    refit_dtypes(LAYERS, refittable=[*NAMES, "bias"], prototypes={}, only_ours=False)


def test_nudged_weights_are_made_once_each_as_they_are_written(monkeypatch):
    """All of them at once would be a second network in memory."""
    made = []

    def counted(weight):
        made.append(weight.shape)
        return nudged(weight)

    monkeypatch.setattr(probe, "nudged", counted)
    block = make()
    weights = probe.NudgedWeights(BASE)
    assert set(weights) == set(LAYERS)
    assert "other" not in weights
    assert made == []
    block.write(weights)
    assert sorted(made) == sorted(weight.shape for weight in BASE.values())
    np.testing.assert_array_equal(block.arrays["plain"], nudged(BASE["plain"]))
    np.testing.assert_array_equal(block.arrays["wide"], nudged(BASE["wide"]).T)
    with pytest.raises(KeyError):
        weights["other"]
