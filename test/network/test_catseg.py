import math
from dataclasses import replace

import pytest
import torch

from semla_ros.network.catseg import ABSENT_LOGIT
from semla_ros.network.checkpoint import create_catseg


@pytest.fixture
def image(small_config):
    generator = torch.Generator().manual_seed(3)
    shape = (2, 3, small_config.resolution, small_config.resolution)
    return torch.rand(shape, generator=generator) * 255


@torch.no_grad()
def test_logits_have_one_map_per_class(small_config, small_model, image, tokens):
    logits = small_model(image, small_model.encode_text(tokens))
    assert logits.shape == (2, 4, 4 * small_config.grid, 4 * small_config.grid)
    assert torch.isfinite(logits).all()


@torch.no_grad()
def test_images_of_a_batch_do_not_mix(small_model, image, tokens):
    text = small_model.encode_text(tokens)
    alone = torch.cat([small_model(image[:1], text), small_model(image[1:], text)])
    torch.testing.assert_close(small_model(image, text), alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_reordering_the_classes_reorders_the_maps(small_model, image, tokens):
    text = small_model.encode_text(tokens)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        small_model(image, text[order]), small_model(image, text)[:, order], atol=1e-5, rtol=1e-4
    )


@torch.no_grad()
def test_above_the_limit_only_the_most_similar_classes_are_aggregated(small_config, image):
    model = create_catseg(replace(small_config, pad_len=3), seed=2).eval()
    text = torch.nn.functional.normalize(torch.randn(5, small_config.embed_dim), dim=-1)
    dense = model.clip.visual(model.normalise(image)).embedding
    dense = torch.nn.functional.normalize(dense, dim=1)
    best = torch.einsum("bchw,tc->bthw", dense, text).flatten(2).amax(2)
    logits = model(image, text)
    for row, similarity in enumerate(best):
        kept = similarity.argsort(descending=True)[:3].sort().values
        expected = model(image[row : row + 1], text[kept])[0]
        torch.testing.assert_close(logits[row, kept], expected, atol=1e-5, rtol=1e-4)
        absent = [index for index in range(5) if index not in kept.tolist()]
        assert (logits[row, absent] == ABSENT_LOGIT).all()


@torch.no_grad()
@pytest.mark.parametrize("classes", [1, 4])
def test_the_selection_leaves_short_lists_as_they_are(small_model, image, classes):
    text = torch.nn.functional.normalize(torch.randn(classes, 32), dim=-1)
    direct = small_model(image, text)
    small_model.aggregator.always_select = True
    assert torch.equal(small_model(image, text), direct)


@torch.no_grad()
def test_text_features_do_not_depend_on_cropping(small_model, tokens):
    full = torch.nn.functional.pad(tokens, (0, 6))
    torch.testing.assert_close(small_model.encode_text(full), small_model.encode_text(tokens))


@torch.no_grad()
def test_text_features_have_unit_length(small_model, tokens):
    norms = small_model.encode_text(tokens).norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones(4))


def test_a_few_steps_learn_where_two_classes_lie(small_config, tokens):
    model = create_catseg(small_config, seed=1)
    size = 4 * small_config.grid
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    target = torch.zeros(1, 4, size, size)
    target[0, 0, : size // 2], target[0, 1, size // 2 :] = 1, 1
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(100):
        logits = model(image, model.encode_text(tokens))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    best_without_space = math.log(2) / 2
    assert losses[-1] < best_without_space - 0.1
