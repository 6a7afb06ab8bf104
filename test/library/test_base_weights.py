"""W0: every adaptable layer, read-only, in the shape the bundle promises."""

import numpy as np
import pytest
from fakes import tiny_manifest
from safetensors.numpy import save_file

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import BundleError


@pytest.fixture
def bundle(tmp_path, layers):
    return ModelBundle(tmp_path, tiny_manifest(layers=layers))


@pytest.fixture
def tensors(layers):
    rng = np.random.default_rng(0)
    return {w.parameter: rng.standard_normal(w.shape).astype(np.float32) for w in layers}


def test_every_adaptable_layer_is_there(bundle, tensors, layers):
    save_file({**tensors, "conv.weight": np.ones((1, 2, 3, 3), np.float32)}, bundle.weights)
    base = BaseWeights.open(bundle)
    assert base.layers == tuple(layer.name for layer in layers)
    for layer in layers:
        np.testing.assert_array_equal(base.get(layer.name), tensors[layer.parameter])


def test_half_precision_is_widened(bundle, tensors, layers):
    save_file({k: v.astype(np.float16) for k, v in tensors.items()}, bundle.weights)
    assert BaseWeights.open(bundle).get(layers[0].name).dtype == np.float32


def test_nobody_can_change_them(bundle, tensors, layers):
    save_file(tensors, bundle.weights)
    with pytest.raises(ValueError, match="read-only"):
        BaseWeights.open(bundle).get(layers[0].name)[0, 0] = 1.0


def test_an_unknown_layer_is_refused(bundle, tensors):
    save_file(tensors, bundle.weights)
    with pytest.raises(BundleError, match="'nose'"):
        BaseWeights.open(bundle).get("nose")


def test_a_missing_parameter_is_named(bundle, tensors, layers):
    del tensors[layers[1].parameter]
    save_file(tensors, bundle.weights)
    with pytest.raises(BundleError, match=layers[1].parameter):
        BaseWeights.open(bundle)


def test_another_shape_is_named(bundle, tensors, layers):
    tensors[layers[1].parameter] = np.ones((2, 2), np.float32)
    save_file(tensors, bundle.weights)
    with pytest.raises(BundleError, match=r"of shape \(8, 12\), got \(2, 2\)"):
        BaseWeights.open(bundle)


@pytest.mark.parametrize("content", [None, b"", b"rubbish" * 9])
def test_a_damaged_file_is_named(bundle, content):
    if content is not None:
        bundle.weights.write_bytes(content)
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        BaseWeights.open(bundle)


def test_whoever_opens_the_same_file_gets_the_same_memory(bundle, tensors, layers):
    save_file(tensors, bundle.weights)
    first, second = BaseWeights.open(bundle), BaseWeights.open(bundle)
    assert first is second


def test_a_file_that_changed_is_read_again(bundle, tensors, layers):
    save_file(tensors, bundle.weights)
    before = BaseWeights.open(bundle)
    save_file({k: v + 1 for k, v in tensors.items()}, bundle.weights)
    after = BaseWeights.open(bundle)
    name = layers[0].name
    np.testing.assert_allclose(after.get(name), before.get(name) + 1, rtol=1e-6)


def test_layers_lie_as_their_graph_has_them(layers):
    rng = np.random.default_rng(3)
    weights = {w.name: rng.standard_normal(w.shape).astype(np.float32) for w in layers}
    turned = layers[0].name
    base = BaseWeights(weights, transposed=[turned])
    for name, weight in weights.items():
        np.testing.assert_array_equal(base.get(name), weight)
        stored = base.as_stored(name)
        assert stored.flags.c_contiguous
        np.testing.assert_array_equal(stored, weight.T if name == turned else weight)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e37, -2e37])
def test_values_that_leave_no_room_for_a_merge_are_refused(bundle, tensors, layers, value):
    tensors[layers[1].parameter][2, 3] = value
    save_file(tensors, bundle.weights)
    with pytest.raises(BundleError, match="finite values"):
        BaseWeights.open(bundle)
