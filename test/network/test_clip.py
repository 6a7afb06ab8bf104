"""CLIP's towers against open_clip's on the same weights."""

import pytest
import torch
from torch.nn import functional

from semla_ros.core.errors import TrainingError
from semla_ros.network.clip import Clip, clip_state_from_open_clip
from semla_ros.network.config import CatSegConfig
from semla_ros.prepare.bundler.clip import ClipSize, create_clip

SIZE = ClipSize(
    image_size=32, vision_width=64, vision_layers=4, text_width=64, text_layers=2, embed_dim=48
)


@pytest.fixture(scope="module")
def reference():
    return create_clip(SIZE, seed=0).eval()


@pytest.fixture(scope="module")
def config(reference):
    state = clip_state_from_open_clip(reference.state_dict())
    return CatSegConfig.from_clip({key: tuple(t.shape) for key, t in state.items()})


@pytest.fixture(scope="module")
def clip(reference, config):
    model = Clip(config)
    model.load_state_dict(clip_state_from_open_clip(reference.state_dict()), strict=True)
    return model.eval()


@torch.no_grad()
def test_image_embeddings_equal_open_clip(reference, clip):
    images = torch.randn(3, 3, 32, 32)
    expected = reference.encode_image(images)
    torch.testing.assert_close(clip.visual.encode_image(images), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_text_embeddings_equal_open_clip(reference, clip):
    tokens = torch.randint(1, SIZE.vocab_size - 1, (5, SIZE.context_length))
    for row, length in enumerate((3, 9, 32, 20, 1)):
        tokens[row, length - 1] = SIZE.vocab_size - 1
        tokens[row, length:] = 0
    expected = functional.normalize(reference.encode_text(tokens), dim=-1)
    torch.testing.assert_close(clip.encode_text(tokens), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_larger_image_resizes_the_position_embedding(config, clip):
    larger = CatSegConfig.from_clip(
        {key: tuple(tensor.shape) for key, tensor in clip.state_dict().items()}, resolution=64
    )
    model = Clip(larger)
    model.load_state_dict(clip.state_dict(), strict=True)
    features = model.visual(torch.randn(1, 3, 64, 64))
    assert (config.grid, larger.grid) == (4, 8)
    assert features.embedding.shape == (1, SIZE.embed_dim, 8, 8)
    positions = model.visual.resized_positions()
    assert torch.equal(positions[0], clip.visual.positional_embedding[0])
    mean = clip.visual.positional_embedding[1:].mean(0)
    torch.testing.assert_close(positions[1:].mean(0), mean, atol=0.05, rtol=0)


@torch.no_grad()
def test_taps_are_outputs_of_their_blocks(clip):
    image = torch.randn(1, 3, 32, 32)
    outputs = []
    handles = [
        block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        for block in clip.visual.transformer.blocks()
    ]
    taps = clip.visual(image).taps
    for handle in handles:
        handle.remove()
    for tap, index in zip(taps, clip.visual.taps, strict=True):
        expected = outputs[index][0, 1:].T.reshape(-1, 4, 4)
        torch.testing.assert_close(tap[0], expected)


@torch.no_grad()
def test_the_dense_block_does_not_attend_and_adds_the_class_token(clip):
    block = clip.visual.transformer.blocks()[-1]
    x = torch.randn(1, 17, SIZE.vision_width)
    width = SIZE.vision_width
    attention = block.attn
    value = functional.linear(
        block.ln_1(x), attention.v_proj_weight, attention.in_proj_bias[2 * width :]
    )
    mixed = attention.out_proj(value) + x[:, [0]]
    torch.testing.assert_close(block.forward_dense(x), mixed + block.mlp(block.ln_2(mixed)))


def test_tensors_without_a_place_are_refused(reference):
    state = {**reference.state_dict(), "logit_bias": torch.zeros(1)}
    with pytest.raises(TrainingError, match="logit_bias"):
        clip_state_from_open_clip(state)
