import pytest
import torch

from semla_ros.core.errors import TrainingError
from semla_ros.network.in_out import with_in_out_linears
from semla_ros.network.layers import adaptable_layers


@torch.no_grad()
def test_reversed_storage_changes_shapes_but_no_output(small_config, small_model, tokens):
    layers = adaptable_layers(small_config)
    changed = with_in_out_linears(small_model, [layer.name for layer in layers])
    before, after = small_model.state_dict(), changed.state_dict()
    assert before.keys() == after.keys()
    for layer in layers:
        assert torch.equal(after[layer.parameter], before[layer.parameter].T)
    image = torch.rand(1, 3, 64, 64) * 255
    text = changed.encode_text(tokens)
    torch.testing.assert_close(text, small_model.encode_text(tokens))
    torch.testing.assert_close(changed(image, text), small_model(image, text))


def test_the_original_network_is_left_alone(small_config, small_model):
    layer = adaptable_layers(small_config)[0]
    changed = with_in_out_linears(small_model, [layer.name])
    with torch.no_grad():
        changed.get_parameter(layer.parameter).zero_()
    assert small_model.get_parameter(layer.parameter).abs().max() > 0
    query = "sem_seg_head.predictor.clip_model.visual.transformer.resblocks.0.attn"
    assert not small_model.get_submodule(query).stored_in_out


@pytest.mark.parametrize("name", ["upsample1", "nothing.here", "sem_seg_head"])
def test_names_that_are_no_linear_layer_are_refused(small_model, name):
    with pytest.raises(TrainingError, match=name):
        with_in_out_linears(small_model, [name])
