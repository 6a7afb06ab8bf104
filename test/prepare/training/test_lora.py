"""Adapters: what is trained is what merging gives, and the base stays as it came."""

import math

import pytest
import torch

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.bundler.writer import live_layers
from semla_ros.prepare.training.lora import LoraOptions, train_adapter
from semla_ros.prepare.training.segmentation import FitOptions, pixel_loss

OPTIONS = FitOptions(40, 8, 1e-2, seed=3)


@pytest.fixture
def trained(aligned, halves, prompts):
    layers = [layer.name for layer in live_layers(aligned)]
    return train_adapter(
        aligned, layers, halves, prompts, name="halves", base_model="b", options=OPTIONS
    )


def _loss(model, images, prompts):
    image = torch.from_numpy(images.rgb[:, :32, :32]).permute(0, 3, 1, 2).float()
    labels = torch.from_numpy(images.labels[:, :32, :32]).long()
    with torch.no_grad():
        return float(pixel_loss(model(image, model.encode_text(prompts(None))), labels))


def test_the_base_is_left_bit_identical_and_trainable(model, halves, prompts):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    layers = [layer.name for layer in live_layers(model)][:2]
    train_adapter(model, layers, halves, prompts, name="x", base_model="b", options=OPTIONS)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert all(p.requires_grad for p in model.parameters())


def test_merging_the_adapter_lowers_the_loss(model, trained, halves, prompts):
    before = _loss(model, halves, prompts)
    for name, layer in trained.layers.items():
        delta = layer.scaling * torch.from_numpy(layer.lora_b @ layer.lora_a)
        model.get_submodule(name).weight.data += delta
    after = _loss(model, halves, prompts)
    assert after < 0.9 * before
    assert after < math.log(2), "better than knowing nothing of two classes"


def test_ranks_shapes_and_identity_are_as_asked(model, trained):
    assert trained.base_model == "b"
    shapes = {layer.name: layer.shape for layer in live_layers(model)}
    assert trained.layers.keys() == shapes.keys()
    for name, layer in trained.layers.items():
        out_features, in_features = shapes[name]
        assert layer.lora_a.shape == (8, in_features)
        assert layer.lora_b.shape == (out_features, 8)
        assert layer.scaling == 2.0
        assert abs(layer.lora_b).max() > 0, f"{name} never received a gradient"


def test_layers_that_are_not_linear_are_refused(model, halves, prompts):
    with pytest.raises(TrainingError, match="linear layer"):
        train_adapter(
            model, ["upsample1"], halves, prompts, name="x", base_model="b", options=OPTIONS
        )
    with pytest.raises(TrainingError, match="rank and alpha"):
        LoraOptions(rank=0)
