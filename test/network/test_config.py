from dataclasses import replace

import pytest
import torch

from semla_ros.core.errors import ConfigError
from semla_ros.network.catseg import CatSeg
from semla_ros.network.config import CLIP_PREFIX, VIT_L, CatSegConfig, default_taps


def shapes_of(config):
    with torch.device("meta"):
        model = CatSeg(config)
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def test_the_published_base_checkpoint_gives_the_default_sizes(checkpoint_shapes):
    assert CatSegConfig.from_state_dict(checkpoint_shapes) == CatSegConfig()


def test_our_keys_and_shapes_are_those_of_the_published_checkpoint(checkpoint_shapes):
    assert shapes_of(CatSegConfig()) == checkpoint_shapes


def test_the_large_model_has_the_published_tensor_and_parameter_counts():
    shapes = shapes_of(VIT_L)
    window_masks = 2
    assert len(shapes) == 652 - window_masks
    parameters = sum(torch.Size(shape).numel() for shape in shapes.values())
    assert parameters / 1e6 == pytest.approx(433.73, abs=0.005)
    assert CatSegConfig.from_state_dict(shapes) == VIT_L


def test_a_small_network_is_read_back_from_its_shapes(small_config):
    config = CatSegConfig.from_state_dict(shapes_of(small_config), resolution=64)
    assert config == small_config


def test_without_a_resolution_a_small_network_takes_its_position_grid(small_config):
    config = CatSegConfig.from_state_dict(shapes_of(small_config))
    assert (config.resolution, config.crop_size, config.window) == (32, 32, 2)


def test_a_config_around_a_clip_takes_the_aggregator_from_the_caller(small_config):
    clip = {
        key.removeprefix(CLIP_PREFIX): shape
        for key, shape in shapes_of(small_config).items()
        if key.startswith(CLIP_PREFIX)
    }
    config = CatSegConfig.from_clip(clip, resolution=64, hidden_dim=32)
    assert config.vision_width == small_config.vision_width
    assert (config.hidden_dim, config.window, config.grid) == (32, 4, 8)


@pytest.mark.parametrize(("layers", "taps"), [(12, (3, 7)), (24, (7, 15)), (6, (1, 3))])
def test_taps_lie_at_a_third_and_two_thirds(layers, taps):
    assert default_taps(layers) == taps


def test_missing_tensors_are_named():
    with pytest.raises(ConfigError, match=r"visual\.conv1\.weight"):
        CatSegConfig.from_state_dict({"layer.weight": (3, 3)})


def test_a_tensor_of_another_rank_is_named(checkpoint_shapes):
    key = f"{CLIP_PREFIX}visual.conv1.weight"
    with pytest.raises(ConfigError, match=r"4 dimensions .*conv1"):
        CatSegConfig.from_state_dict({**checkpoint_shapes, key: (768, 768)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 65}, "multiple of 8"),
        ({"window": 3}, "multiple of 3"),
        ({"hidden_dim": 0}, "above zero"),
        ({"taps": (1, 5)}, "below the last"),
        ({"vision_heads": 3}, "vision_width"),
    ],
)
def test_impossible_sizes_are_refused(small_config, changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(small_config, **changes)


def test_unknown_fields_around_a_clip_are_refused():
    with pytest.raises(ConfigError, match="hidden"):
        CatSegConfig.from_clip({}, hidden=3)


@pytest.mark.parametrize("blocks", [("0", "2"), ("1", "2"), ("0", "999999999"), ("0", "x")])
def test_blocks_must_be_numbered_without_a_gap(checkpoint_shapes, blocks):
    stem = f"{CLIP_PREFIX}visual.transformer.resblocks."
    shapes = {k: s for k, s in checkpoint_shapes.items() if not k.startswith(stem)}
    shapes |= {f"{stem}{block}.ln_1.weight": (768,) for block in blocks}
    with pytest.raises(ConfigError, match="without a gap"):
        CatSegConfig.from_state_dict(shapes)
