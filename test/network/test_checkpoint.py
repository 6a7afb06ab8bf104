import pytest
import torch
from fakes import with_taps

from semla_ros.core.errors import TrainingError
from semla_ros.network.catseg import CatSeg
from semla_ros.network.checkpoint import catseg_from_state, clean_state, create_catseg
from semla_ros.network.config import VIT_L, CatSegConfig
from semla_ros.network.layers import adaptable_layers

QUERY = "sem_seg_head.predictor.clip_model.visual.transformer.resblocks.0.attn.q_proj"


@pytest.fixture
def state(small_model):
    return small_model.state_dict()


def test_a_checkpoint_with_aliases_and_masks_gives_the_same_network(small_config, state):
    mask = "sem_seg_head.predictor.transformer.layers.0.swin_block.block_2.attn_mask"
    upstream = {
        **state,
        f"{QUERY}.weight": state[f"{QUERY}_weight"],
        mask: torch.zeros(4, 16, 16),
    }
    model = catseg_from_state(upstream, small_config)
    assert not model.training
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, state[key], rtol=0, atol=0)


def test_half_precision_checkpoints_become_float32(small_config, state):
    model = catseg_from_state({k: v.half() for k, v in state.items()}, small_config)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_an_alias_with_other_values_is_refused(state):
    with pytest.raises(TrainingError, match="q_proj"):
        clean_state({**state, f"{QUERY}.weight": state[f"{QUERY}_weight"] + 1})


def test_missing_and_foreign_tensors_are_named(small_config, state):
    wrong = {key: tensor for key, tensor in state.items() if key != "upsample1.bias"}
    with pytest.raises(TrainingError, match=r"upsample1\.bias.*'extra'"):
        catseg_from_state({**wrong, "extra": torch.zeros(1)}, small_config)


def test_a_seed_gives_the_same_weights_and_leaves_the_global_generator(small_config):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = create_catseg(small_config, seed=4), create_catseg(small_config, seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@torch.no_grad()
def test_other_taps_change_the_guidance_only(small_model, tokens):
    image = torch.rand(1, 3, 64, 64) * 255
    text = small_model.encode_text(tokens)
    same = with_taps(small_model, small_model.config.taps)
    torch.testing.assert_close(same(image, text), small_model(image, text))
    other = with_taps(small_model, (1, 1))
    assert other.config.taps == (1, 1)
    assert (other(image, text) - small_model(image, text)).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("config", "keys", "millions", "modules"),
    [(CatSegConfig(), 484, 154.29, 154), (VIT_L, 652, 433.73, 214)],
    ids=["base", "large"],
)
def test_the_published_models_have_their_published_counts(config, keys, millions, modules):
    with torch.device("meta"):
        state = CatSeg(config).state_dict()
    masks = config.aggregator_layers
    assert len(state) + masks == keys
    assert round(sum(tensor.numel() for tensor in state.values()) / 1e6, 2) == millions
    assert len(adaptable_layers(config)) == modules
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    assert CatSegConfig.from_state_dict(shapes) == config


def test_a_network_from_a_checkpoint_shares_its_tensors_and_answers_the_same(
    small_model, small_config, tokens
):
    state = small_model.state_dict()
    model = catseg_from_state(state, small_config)
    key = "sem_seg_head.predictor.transformer.conv1.weight"
    assert model.state_dict()[key].data_ptr() == state[key].data_ptr()
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        expected = small_model(image, small_model.encode_text(tokens))
        assert torch.equal(model(image, model.encode_text(tokens)), expected)
