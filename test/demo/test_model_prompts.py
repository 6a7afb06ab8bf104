"""The demo's words, made as its model is made, with a smaller CLIP of random weights."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
if importlib.util.find_spec("open_clip") is None:
    pytest.skip("needs open_clip_torch: scripts/setup --dev", allow_module_level=True)

from semla_ros.demo.model.networks import demo_prompts, encode_texts, trained_spec  # noqa: E402
from semla_ros.demo.model.recipe import Recipe  # noqa: E402
from semla_ros.prepare.bundler.clip import ClipSize, create_clip  # noqa: E402
from semla_ros.prepare.bundler.prompt_sets import read_prompt_set  # noqa: E402
from semla_ros.prepare.bundler.tokenizer import clip_tokenizer, learn_merges  # noqa: E402


def test_the_demos_words_lie_where_its_text_tower_puts_them():
    size = ClipSize(embed_dim=16, vision_width=64, vision_layers=1, text_width=64, text_layers=1)
    recipe = replace(Recipe(), clip_size=size)
    clip = create_clip(size, seed=3).eval()
    tokenizer = clip_tokenizer(learn_merges(["a photo of a street in fog"], count=20))
    made = demo_prompts(clip, tokenizer, recipe)
    prompts = read_prompt_set("demo")
    assert made.encoder == trained_spec(clip, recipe).identity
    assert set(made.groups) == set(prompts.groups)
    entry = made.prompts[0]
    with torch.no_grad():
        texts = [template.replace("{}", entry) for template in prompts.templates]
        tokens = encode_texts(tokenizer, texts, length=size.context_length)
        mean = torch.nn.functional.normalize(clip.encode_text(tokens), dim=-1).mean(dim=0)
    expected = (mean / mean.norm()).numpy()
    np.testing.assert_allclose(made.embeddings[0], expected, atol=1e-6)
