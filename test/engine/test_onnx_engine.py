import numpy as np
import onnx
import pytest

from semla_ros.bundle import ModelBundle
from semla_ros.core.errors import BundleError
from semla_ros.core.types import AdapterMix
from semla_ros.core.weights import ArrayWeights, WeightSet
from semla_ros.engine.onnx_engine import OnnxEngine


def test_logits_equal_the_same_network_in_numpy(hand_made, make_set, rgb):
    with OnnxEngine(hand_made.bundle, threads=1) as engine:
        for seed, touched in ((1, 2), (2, 1), (3, 0)):
            weight_set = make_set(seed, touched=touched)
            engine.prepare(weight_set)
            engine.commit()
            got = engine.infer(rgb, keep_logits=True).logits
            expected = hand_made.logits(rgb, weight_set.weights.arrays, weight_set.text_features)
            np.testing.assert_allclose(got, expected, atol=2e-5)


def test_the_weight_set_may_be_thrown_away_after_prepare(hand_made, make_set, rgb):
    with OnnxEngine(hand_made.bundle, threads=1) as engine:
        weight_set = make_set(1)
        engine.prepare(weight_set)
        for array in (*weight_set.weights.arrays.values(), weight_set.text_features):
            array.fill(7)
        engine.commit()
        fresh = make_set(1)
        expected = hand_made.logits(rgb, fresh.weights.arrays, fresh.text_features)
        got = engine.infer(rgb, keep_logits=True).logits
        np.testing.assert_allclose(got, expected, atol=2e-5)


def edited(bundle: ModelBundle, tmp_path, edit) -> ModelBundle:
    """Return a copy of `bundle` whose segmentation graph went through `edit`."""
    for path in bundle.root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = onnx.load(tmp_path / "segmentation.onnx")
    edit(model.graph)
    onnx.save(model, tmp_path / "segmentation.onnx")
    return ModelBundle(tmp_path, bundle.manifest)


def drop_input(name):
    def edit(graph):
        kept = [each for each in graph.input if each.name != name]
        del graph.input[:]
        graph.input.extend(kept)

    return edit


def test_a_weight_that_cannot_be_overridden_is_refused_by_name(hand_made, tmp_path):
    frozen = edited(hand_made.bundle, tmp_path, drop_input("fc2"))
    with pytest.raises(BundleError, match="'fc2'"):
        OnnxEngine(frozen, threads=1)


def test_another_input_size_than_the_manifest_says_is_refused(hand_made, tmp_path):
    def shrink(graph):
        graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32

    with pytest.raises(BundleError, match="image"):
        OnnxEngine(edited(hand_made.bundle, tmp_path, shrink), threads=1)


def test_a_graph_without_logits_is_refused(hand_made, tmp_path):
    def rename(graph):
        graph.output[0].name = graph.node[-1].output[0] = "scores"

    with pytest.raises(BundleError, match="scores"):
        OnnxEngine(edited(hand_made.bundle, tmp_path, rename), threads=1)


def test_truncated_and_missing_graphs_are_refused(hand_made, tmp_path):
    copy = edited(hand_made.bundle, tmp_path, lambda graph: None)
    whole = copy.segmentation_graph.read_bytes()
    copy.segmentation_graph.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="does not load"):
        OnnxEngine(copy, threads=1)
    copy.segmentation_graph.unlink()
    with pytest.raises(BundleError, match="found none"):
        OnnxEngine(copy, threads=1)


def test_missing_and_misshapen_base_weights_are_refused(hand_made, tmp_path):
    from safetensors.numpy import load_file, save_file

    copy = edited(hand_made.bundle, tmp_path, lambda graph: None)
    tensors = load_file(copy.weights)
    save_file({**tensors, "head.fc2.weight": np.zeros((2, 2), np.float32)}, copy.weights)
    with pytest.raises(BundleError, match=r"head\.fc2\.weight"):
        OnnxEngine(copy, threads=1)
    del tensors["head.fc2.weight"]
    save_file(tensors, copy.weights)
    with pytest.raises(BundleError, match=r"lacks 'head\.fc2\.weight'"):
        OnnxEngine(copy, threads=1)


def test_a_network_that_overflows_raises_instead_of_labelling(hand_made, make_set, rgb):
    from semla_ros.core.errors import EngineError

    good = make_set(1)
    huge = {name: np.full_like(w, 3e38) for name, w in good.weights.arrays.items()}
    with OnnxEngine(hand_made.bundle, threads=1) as engine:
        mix = AdapterMix(("huge",), (1.0,))
        engine.prepare(WeightSet(mix, ArrayWeights(huge), good.text_features, good.vocabulary))
        engine.commit()
        with pytest.raises(EngineError, match="not finite"):
            engine.infer(rgb)
