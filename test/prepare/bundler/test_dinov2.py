"""DINOv2 as the navigator, in both layouts its weights come in; random weights, real sizes."""

import importlib.util
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
if importlib.util.find_spec("open_clip") is None or importlib.util.find_spec("timm") is None:
    pytest.skip("needs open_clip_torch and timm: scripts/setup --dev", allow_module_level=True)

import onnxruntime  # noqa: E402
from prepare.bundler import upstream  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from semla_ros.core.errors import SemlaError, TrainingError  # noqa: E402
from semla_ros.prepare.bundler.clip import import_open_clip  # noqa: E402
from semla_ros.prepare.bundler.dinov2 import resized_positions, timm_layout  # noqa: E402
from semla_ros.prepare.bundler.importer import ImportRequest, import_bundle  # noqa: E402
from semla_ros.prepare.bundler.navigator_import import (  # noqa: E402
    NavigatorRequest,
    load_navigator,
)
from semla_ros.prepare.bundler.onnx_export import export_image_encoder  # noqa: E402

NAME = "dinov2-vit-s-14"
WIDTH, SIDE, GRID = 384, 37, 16


@pytest.fixture(scope="module")
def published():
    """A ViT-S/14 for 518 px, as timm has it, with weights that tell every tensor apart."""
    import_open_clip()
    import timm

    torch.manual_seed(0)
    model = timm.create_model("vit_small_patch14_dinov2.lvd142m", num_classes=0).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            kind = 1.0 if name.endswith(("gamma", "norm1.weight", "norm2.weight")) else 0.0
            tensor.copy_(kind + 0.05 * torch.randn_like(tensor))
    return model


@pytest.fixture(scope="module")
def files(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dino")
    state = {key: tensor.clone() for key, tensor in published.state_dict().items()}
    save_file(state, folder / "timm.safetensors")
    torch.save({**state, "mask_token": torch.zeros(1, WIDTH)}, folder / "hub.pth")
    return folder


@torch.no_grad()
def test_both_layouts_are_one_encoder_and_at_518_px_it_is_the_published_one(published, files):
    timm_file, hub_file = (
        load_navigator(NAME, files / name) for name in ("timm.safetensors", "hub.pth")
    )
    assert timm_file.spec == hub_file.spec
    spec = timm_file.spec
    assert spec.identity.startswith("dinov2/vit-s-14@224:")
    assert (spec.size, spec.dim, spec.resize) == (224, WIDTH, "eval_crop")
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    embedding = hub_file.encoder(image)
    assert torch.equal(timm_file.encoder(image), embedding)
    stored = published.pos_embed
    # The published network itself, given the positions of the smaller grid.
    positions = resized_positions(stored, grid=GRID)
    tokens = published.patch_embed.proj(image).flatten(2).transpose(1, 2)
    x = torch.cat([published.cls_token, tokens], dim=1) + positions
    for block in published.blocks:
        x = block(x)
    torch.testing.assert_close(embedding, published.norm(x)[:, 0], atol=1e-5, rtol=1e-5)


def keys_cubic(distance, a=-0.75):
    """Keys' cubic kernel, with torch's a."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def test_positions_are_sampled_with_the_original_offset():
    """Written out: output i looks at (i + 0.5) * 37 / 16.1 - 0.5, four taps, edges repeated."""
    matrix = np.zeros((GRID, SIDE))
    for row in range(GRID):
        at = (row + 0.5) * SIDE / (GRID + 0.1) - 0.5
        for tap in range(math.floor(at) - 1, math.floor(at) + 3):
            matrix[row, min(max(tap, 0), SIDE - 1)] += keys_cubic(at - tap)
    stored = torch.randn(1, 1 + SIDE**2, 8, generator=torch.Generator().manual_seed(2))
    maps = stored[0, 1:].reshape(SIDE, SIDE, 8).numpy()
    expected = np.einsum("ui,vj,ijd->uvd", matrix, matrix, maps).reshape(-1, 8)
    got = resized_positions(stored, grid=GRID)
    assert torch.equal(got[:, 0], stored[:, 0])
    np.testing.assert_allclose(got[0, 1:].numpy(), expected, atol=1e-5)
    assert torch.equal(resized_positions(stored, grid=SIDE), stored)


def test_the_graph_answers_as_torch(files, tmp_path):
    parts = load_navigator(NAME, files / "hub.pth")
    export_image_encoder(parts.encoder, tmp_path / "navigator.onnx", size=parts.spec.size)
    image = np.random.default_rng(3).standard_normal((1, 3, 224, 224), dtype=np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "navigator.onnx"))
    (got,) = session.run(["embedding"], {"image": image})
    with torch.no_grad():
        expected = parts.encoder(torch.from_numpy(image)).numpy()
    assert got.shape == (1, WIDTH)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_the_identity_follows_weights_and_preprocessing(files, published, tmp_path):
    identity = load_navigator(NAME, files / "hub.pth").spec.identity
    other = load_navigator(NAME, files / "hub.pth", resize="center_crop").spec.identity
    assert other == f"{identity}+center_crop"
    state = {key: tensor.clone() for key, tensor in published.state_dict().items()}
    state["norm.bias"] += 1
    torch.save(state, tmp_path / "tuned.pth")
    assert load_navigator(NAME, tmp_path / "tuned.pth").spec.identity != identity


def test_the_giants_gated_layers_are_renamed():
    hub = {"blocks.3.mlp.w12.weight": torch.ones(4, 2), "blocks.3.mlp.w3.bias": torch.ones(2)}
    assert timm_layout(hub).keys() == {"blocks.3.mlp.fc1.weight", "blocks.3.mlp.fc2.bias"}


def test_weights_of_another_model_are_refused(files, published, tmp_path):
    with pytest.raises(TrainingError, match="of another model"):
        load_navigator("dinov2-vit-b-14", files / "hub.pth")
    torch.save({"visual.proj": torch.ones(2, 2)}, tmp_path / "clip.pth")
    with pytest.raises(TrainingError, match="timm's or torch hub's layout"):
        load_navigator(NAME, tmp_path / "clip.pth")
    state = {**published.state_dict(), "pos_embed": torch.ones(1, 12, WIDTH)}
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(TrainingError, match="side \\* side"):
        load_navigator(NAME, tmp_path / "odd.pth")


@pytest.mark.parametrize(
    ("length", "message"),
    [(768, "expected a centroid of length 384, got 768"), (384, "got 'openai/clip-vit-large")],
)
def test_clips_centroids_are_refused_with_it(files, tmp_path, length, message):
    upstream.save_checkpoint(tmp_path / "model.pth", upstream.fork_state(upstream.network()))
    tensors = upstream.adapter_tensors(upstream.CONFIG, seed=0)
    upstream.write_domain(tmp_path / "loradb" / "fog", tensors, dim=length)
    request = ImportRequest(
        checkpoint=tmp_path / "model.pth",
        loradb=tmp_path / "loradb",
        classes="cityscapes",
        navigator=NavigatorRequest(NAME, files / "timm.safetensors"),
        out=tmp_path / "bundle",
    )
    with pytest.raises(SemlaError, match=message):
        import_bundle(request)
    assert not (tmp_path / "bundle").exists()
    with pytest.raises(SemlaError, match="navigator resize"):
        NavigatorRequest(NAME, resize="stretch")
