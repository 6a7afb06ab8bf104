"""Image encoders of open_clip and transformers as navigators, small ones."""

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
if importlib.util.find_spec("open_clip") is None:
    pytest.skip("needs open_clip_torch: scripts/setup --dev", allow_module_level=True)

from prepare.bundler import upstream  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from semla_ros.core.errors import TrainingError  # noqa: E402
from semla_ros.prepare.bundler.hf_clip import vision_tower_from_hf  # noqa: E402
from semla_ros.prepare.bundler.navigator_import import load_navigator  # noqa: E402

NAME = "semla-test-tiny"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A small CLIP under a name that open_clip knows."""
    return upstream.small_clip(tmp_path_factory.mktemp("config"), NAME, vocab_size=100)


@pytest.fixture
def saved(clip, tmp_path):
    path = tmp_path / "clip.pth"
    torch.save(clip.state_dict(), path)
    return path


@torch.no_grad()
def test_the_tower_gives_clips_own_embedding_not_normalised(clip, saved):
    parts = load_navigator(NAME, saved)
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(parts.encoder(image), clip.encode_image(image, normalize=False))
    assert (parts.spec.size, parts.spec.dim, parts.spec.resize) == (32, 16, "center_crop")
    np.testing.assert_allclose(parts.spec.mean, (0.48145466, 0.4578275, 0.40821073))


def test_the_identity_follows_the_weights_and_the_preprocessing(clip, saved, tmp_path):
    one = load_navigator(NAME, saved).spec.identity
    assert one.startswith(f"open_clip/{NAME}:")
    assert load_navigator(NAME, saved).spec.identity == one
    assert load_navigator(NAME, saved, resize="letterbox").spec.identity == f"{one}+letterbox"
    changed = {k: v.clone() for k, v in clip.state_dict().items()}
    changed["visual.proj"] += 1
    torch.save(changed, tmp_path / "other.pth")
    assert load_navigator(NAME, tmp_path / "other.pth").spec.identity != one


def test_weights_of_another_model_are_refused(clip, tmp_path):
    state = {k: v for k, v in clip.state_dict().items() if k != "visual.proj"}
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(TrainingError, match=r"of another model.*proj"):
        load_navigator(NAME, tmp_path / "less.pth")
    torch.save({"backbone.weight": torch.ones(2)}, tmp_path / "none.pth")
    with pytest.raises(TrainingError, match="open_clip's or transformers' layout"):
        load_navigator(NAME, tmp_path / "none.pth")


def test_a_model_without_weights_asks_for_them(clip):
    with pytest.raises(TrainingError, match="--navigator-checkpoint"):
        load_navigator(NAME, None)


@torch.no_grad()
def test_transformers_layout_becomes_the_same_tower(clip, tmp_path):
    """The conversion is undone by hand here: names and fused projections as transformers has."""
    visual = clip.visual.state_dict()
    hf = {"visual_projection.weight": visual["proj"].T.contiguous()}
    inside = {
        "attn.out_proj": "self_attn.out_proj",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    outside = {
        "class_embedding": "embeddings.class_embedding",
        "positional_embedding": "embeddings.position_embedding.weight",
        "conv1.weight": "embeddings.patch_embedding.weight",
    }
    for key, tensor in visual.items():
        if key == "proj":
            continue
        if key in outside:
            name = outside[key]
        elif key.startswith("transformer.resblocks."):
            index, rest = key.removeprefix("transformer.resblocks.").split(".", 1)
            if "in_proj" in rest:
                for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                    kind = rest.rpartition("_")[2]
                    where = f"encoder.layers.{index}.self_attn.{letter}_proj.{kind}"
                    hf[f"vision_model.{where}"] = part.clone()
                continue
            stem, _, kind = rest.rpartition(".")
            name = f"encoder.layers.{index}.{inside[stem]}.{kind}"
        else:
            name = key.replace("ln_pre", "pre_layrnorm").replace("ln_post", "post_layernorm")
        hf[f"vision_model.{name}"] = tensor
    hf["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    converted = vision_tower_from_hf(hf)
    assert converted.keys() == {f"visual.{key}" for key in visual}
    save_file({k: v.contiguous() for k, v in hf.items()}, tmp_path / "model.safetensors")
    parts = load_navigator(NAME, tmp_path / "model.safetensors")
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(parts.encoder(image), clip.encode_image(image, normalize=False))
