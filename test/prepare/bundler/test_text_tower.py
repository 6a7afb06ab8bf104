"""Prompts by a CLIP's own text tower, small ones of random weights."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
if importlib.util.find_spec("open_clip") is None:
    pytest.skip("needs open_clip_torch: scripts/setup --dev", allow_module_level=True)

from semla_ros.bundle import ModelBundle  # noqa: E402
from semla_ros.core.errors import BundleError, TrainingError  # noqa: E402
from semla_ros.navigator.text_encoder import OnnxTextEncoder  # noqa: E402
from semla_ros.prepare.bundler.clip import import_open_clip  # noqa: E402
from semla_ros.prepare.bundler.prompt_sets import (  # noqa: E402
    PromptSet,
    embed_prompts,
    read_prompt_set,
)
from semla_ros.prepare.bundler.text_tower import text_tower  # noqa: E402
from semla_ros.prepare.bundler.tokenizer import openai_tokenizer  # noqa: E402
from semla_ros.prepare.bundler.verify import compare_navigator  # noqa: E402
from semla_ros.prepare.bundler.writer import (  # noqa: E402
    NavigatorParts,
    NavigatorText,
    write_navigator,
)

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
TEXTS = ("a photo of a street in fog", "a tunnel", "stop !!! ! !")


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return import_open_clip().model.CLIP(**CONFIG, quick_gelu=True).eval()


def expected(clip):
    tokenizer = import_open_clip().tokenizer.SimpleTokenizer(context_length=77)
    return clip.encode_text(tokenizer(list(TEXTS)))


def in_transformers_layout(clip):
    """The text tower as transformers names it, by hand."""
    state = clip.state_dict()
    found = {
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "text_model.embeddings.position_ids": torch.arange(77)[None],
        "text_model.final_layer_norm.weight": state["ln_final.weight"],
        "text_model.final_layer_norm.bias": state["ln_final.bias"],
        "text_projection.weight": state["text_projection"].T,
        "logit_scale": state["logit_scale"],
    }
    inside = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1"}
    inside |= {"mlp.c_proj": "mlp.fc2", "attn.out_proj": "self_attn.out_proj"}
    for index in range(2):
        theirs, ours = f"text_model.encoder.layers.{index}", f"transformer.resblocks.{index}"
        for kind in ("weight", "bias"):
            parts = state[f"{ours}.attn.in_proj_{kind}"].chunk(3)
            for letter, part in zip("qkv", parts, strict=True):
                found[f"{theirs}.self_attn.{letter}_proj.{kind}"] = part
            for mine, other in inside.items():
                found[f"{theirs}.{other}.{kind}"] = state[f"{ours}.{mine}.{kind}"]
    return found


@torch.no_grad()
def test_the_features_are_clips_own(clip):
    encode = text_tower(CONFIG, clip.state_dict(), quick_gelu=True)
    torch.testing.assert_close(encode(TEXTS), expected(clip))


@torch.no_grad()
def test_transformers_layout_gives_the_same(clip):
    encode = text_tower(CONFIG, in_transformers_layout(clip), quick_gelu=True)
    torch.testing.assert_close(encode(TEXTS), expected(clip))


@torch.no_grad()
def test_many_texts_are_encoded_in_parts(clip):
    encode = text_tower(CONFIG, clip.state_dict(), quick_gelu=True)
    features = encode(["a tunnel"] * 65)
    assert features.shape == (65, 16)
    torch.testing.assert_close(features[-1], expected(clip)[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hf_model_name": "roberta-base"}, "roberta-base"),
        ({"hf_tokenizer_name": "x/y"}, "x/y"),
        ({"vocab_size": 100}, "of 49408 tokens, got 100"),
        ({"layers": 3}, "missing"),
        ({"width": 64}, "another shape"),
    ],
)
def test_other_towers_are_refused(clip, changes, message):
    config = {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], **changes}}
    with pytest.raises(TrainingError, match=message):
        text_tower(config, clip.state_dict(), quick_gelu=True)


def test_a_prompt_is_the_mean_direction_of_its_templates():
    vectors = {"x a": [2.0, 0.0], "a y": [0.0, 5.0], "x b": [3.0, 3.0], "b y": [1.0, 1.0]}
    prompts = PromptSet("p", ("x {}", "{} y"), {"g": ("a", "b")})
    made = embed_prompts(
        prompts, lambda texts: torch.tensor([vectors[t] for t in texts]), encoder="e"
    )
    np.testing.assert_allclose(made.embeddings, np.full((2, 2), 2**-0.5), rtol=1e-6)
    assert (made.prompts, made.groups, made.encoder) == (("a", "b"), ("g", "g"), "e")


def test_the_shipped_lists_have_all_groups():
    driving = read_prompt_set()
    assert set(driving.groups) == {"place", "weather", "light", "scene"}
    assert driving.identity.startswith("driving:")
    assert read_prompt_set("demo").identity != driving.identity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a list of prompts of"),
        ("templates: ['no place']\ngroups: {a: [b]}", "one {}"),
        ("templates: ['{}']\ngroups: {a: [1]}", "expected text"),
        ("templates: ['{}']\ngroups: {}", "got none"),
        ("- a", "no list of prompts"),
        ("{[", "no list of prompts"),
    ],
)
def test_malformed_lists_are_refused(tmp_path, text, message):
    path = tmp_path / "p.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_prompt_set(str(path))


@torch.no_grad()
def test_the_text_half_lies_in_a_bundle_beside_its_tokenizer(clip, tiny, tmp_path):
    made = text_tower(CONFIG, clip.state_dict(), quick_gelu=True)
    text = NavigatorText(made.module, made.context_length, openai_tokenizer().to_str())
    image = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten())
    spec = tiny.manifest.navigator
    write_navigator(tmp_path, NavigatorParts(image, spec, text=text))
    files = {"navigator_text.onnx": "0" * 64}
    bundle = ModelBundle(tmp_path, replace(tiny.manifest, files=files))
    compare_navigator(bundle, NavigatorParts(image, spec, text=text))
    wanted = torch.nn.functional.normalize(expected(clip), dim=-1).numpy()
    np.testing.assert_allclose(OnnxTextEncoder(bundle).encode(TEXTS), wanted, atol=1e-5)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match="share a tokenizer"):
        write_navigator(tmp_path, NavigatorParts(image, spec, text=text))
