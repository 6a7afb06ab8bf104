from dataclasses import replace

import pytest
import torch

from semla_ros.network.config import CatSegConfig
from semla_ros.network.layers import adaptable_layers, output_projections


def rank_parameters(layers, rank=8):
    return sum(rank * sum(layer.shape) for layer in layers)


def test_names_and_shapes_are_those_of_a_published_adapter(adapter_shapes):
    layers = {layer.name: layer for layer in adaptable_layers(CatSegConfig())}
    assert layers.keys() == adapter_shapes.keys()
    for name, (a_shape, b_shape) in adapter_shapes.items():
        assert layers[name].shape == (b_shape[0], a_shape[1])


def test_parameters_exist_with_these_shapes(checkpoint_shapes):
    for layer in adaptable_layers(CatSegConfig()):
        assert checkpoint_shapes[layer.parameter] == layer.shape


def test_the_large_model_has_the_published_module_and_parameter_counts():
    large = replace(
        CatSegConfig(), vision_width=1024, vision_layers=24, vision_heads=16, text_width=768
    )
    layers = adaptable_layers(large)
    live = [layer for layer in layers if not layer.inert_in_official]
    assert (len(layers), len(live)) == (214, 106)
    assert rank_parameters(layers) == 4_444_160
    assert rank_parameters(live) == 2_822_144


def test_towers_come_one_after_the_other():
    towers = [layer.tower for layer in adaptable_layers(CatSegConfig())]
    assert towers == sorted(towers, key=["visual", "text", "aggregator"].index)


@pytest.mark.parametrize("tower", ["visual", "text", "aggregator"])
def test_used_layers_are_exactly_those_with_a_gradient(small_config, small_model, tokens, tower):
    image = torch.rand(1, 3, small_config.resolution, small_config.resolution) * 255
    small_model(image, small_model.encode_text(tokens)).sum().backward()
    parameters = dict(small_model.named_parameters())
    for layer in adaptable_layers(small_config):
        if layer.tower == tower:
            assert (parameters[layer.parameter].grad is not None) == layer.used, layer.name


def test_output_projections_exist_and_have_a_gradient(small_config, small_model, tokens):
    image = torch.rand(1, 3, small_config.resolution, small_config.resolution) * 255
    small_model(image, small_model.encode_text(tokens)).sum().backward()
    parameters = dict(small_model.named_parameters())
    layers = output_projections(small_config)
    assert len(layers) == small_config.vision_layers + small_config.text_layers
    for layer in layers:
        assert parameters[layer.parameter].shape == layer.shape
        assert parameters[layer.parameter].grad is not None, layer.name
