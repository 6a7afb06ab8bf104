import pytest
import torch
from torch.nn import functional

from semla_ros.network.class_attention import ClassAttention
from semla_ros.network.pad_collapse import padded_attention, padded_network


def padded_attend(module, tokens, guidance):
    """The official form: pad to `pad_len` tokens, attend among all, drop the padding."""
    count, classes, _ = tokens.shape
    pad = module.pad_len - classes
    x = torch.cat([tokens, module.padding_tokens.expand(count, pad, -1)], dim=1)
    g = torch.cat([guidance, module.padding_guidance.expand(count, pad, -1)], dim=1)
    normed = module.norm1(x)
    attention = module.attention

    def heads(y):
        return y.view(count, module.pad_len, attention.heads, -1)

    q = functional.elu(heads(attention.q(torch.cat([normed, g], -1)))) + 1
    k = functional.elu(heads(attention.k(torch.cat([normed, g], -1)))) + 1
    v = heads(attention.v(normed)) / module.pad_len
    memory = torch.einsum("nshd,nshv->nhdv", k, v)
    norm = 1 / (torch.einsum("nlhd,nhd->nlh", q, k.sum(dim=1)) + 1e-6)
    mixed = torch.einsum("nlhd,nhdv,nlh->nlhv", q, memory, norm) * module.pad_len
    x = x + mixed.flatten(2)
    x = x + module.MLP(module.norm2(x))
    return x[:, :classes]


@pytest.fixture
def module(small_config):
    torch.manual_seed(0)
    module = ClassAttention(small_config)
    torch.nn.init.normal_(module.padding_tokens)
    torch.nn.init.normal_(module.padding_guidance)
    return module.eval()


@pytest.mark.parametrize("classes", [1, 19, 150, 256])
def test_collapsed_padding_equals_real_padding(small_config, module, classes):
    tokens = torch.randn(6, classes, small_config.hidden_dim)
    guidance = torch.randn(6, classes, small_config.text_guidance_dim)
    torch.testing.assert_close(
        module.attend(tokens, guidance),
        padded_attend(module, tokens, guidance),
        atol=2e-5,
        rtol=1e-5,
    )


def test_pooling_adds_one_update_to_every_pixel_of_a_constant_block(small_config, module):
    classes, grid = 3, small_config.grid
    x = torch.randn(2, classes, 1, 1, small_config.hidden_dim).expand(-1, -1, grid, grid, -1)
    text = torch.randn(2, classes, small_config.text_guidance_dim)
    pooled = module(x, text)
    module.pooling = 1
    torch.testing.assert_close(pooled, module(x, text), atol=1e-5, rtol=1e-5)


def test_pooling_is_coarser_on_a_varying_map(small_config, module):
    x = torch.randn(1, 3, small_config.grid, small_config.grid, small_config.hidden_dim)
    text = torch.randn(1, 3, small_config.text_guidance_dim)
    pooled = module(x, text)
    module.pooling = 1
    assert (pooled - module(x, text)).abs().max() > 1e-2


def test_the_measured_padded_form_is_the_official_one(small_config, module):
    tokens = torch.randn(6, 19, small_config.hidden_dim)
    guidance = torch.randn(6, 19, small_config.text_guidance_dim)
    torch.testing.assert_close(
        padded_attention(module, small_config).attend(tokens, guidance),
        padded_attend(module, tokens, guidance),
        atol=2e-5,
        rtol=1e-5,
    )


@torch.no_grad()
@pytest.mark.parametrize("classes", [1, 4])
def test_the_network_gives_the_same_logits_with_either_form(small_config, small_model, classes):
    for key, tensor in small_model.named_parameters():
        if "padding_" in key:
            torch.nn.init.normal_(tensor)
    text = functional.normalize(torch.randn(classes, small_config.embed_dim), dim=-1)
    image = torch.rand(1, 3, small_config.resolution, small_config.resolution) * 255
    padded = padded_network(small_model)
    assert (padded(image, text) - small_model(image, text)).abs().max() < 1e-4
    blank = padded_network(small_model)
    for key, tensor in blank.named_parameters():
        if "padding_" in key:
            tensor.zero_()
    assert (blank(image, text) - small_model(image, text)).abs().max() > 1e-3, "padding matters"
