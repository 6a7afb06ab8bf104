"""A checkpoint as RecycleLoRA's framework writes it becomes a plain LoRA of the same change."""

import importlib.util
import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
for package in ("transformers", "scipy"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}: scripts/setup --dev", allow_module_level=True)

from closed_bundle import closed_bundle  # noqa: E402
from prepare.bundler import hub  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from semla_ros.bundle import open_bundle, write_manifest  # noqa: E402
from semla_ros.bundle.base_weights import BaseWeights  # noqa: E402
from semla_ros.cli import main  # noqa: E402
from semla_ros.core.errors import AdapterError  # noqa: E402
from semla_ros.library.library import AdapterLibrary  # noqa: E402
from semla_ros.prepare.bundler.recycled import read_recycled  # noqa: E402
from semla_ros.prepare.bundler.transformers.checkpoint import weights_of  # noqa: E402
from semla_ros.prepare.bundler.transformers.export import graph_weight  # noqa: E402
from semla_ros.prepare.bundler.transformers.layers import adaptable_layers  # noqa: E402
from semla_ros.prepare.training.initial import Ranks, start_of  # noqa: E402

RANKS, BLOCKS = Ranks(3, 1), 4
ENCODER = "model.pixel_level_module.encoder"
LAYERS = {
    "attn.qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    "attn.proj": ("attention.o_proj",),
    "mlp.fc1": ("mlp.fc1",),
    "mlp.fc2": ("mlp.fc2",),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Names and weights of a Mask2Former on DINOv2; its graph is never run here."""
    root = closed_bundle(tmp_path_factory.mktemp("recycled") / "dinov2-mask2former")
    shutil.rmtree(root / "library")
    (root / "library").mkdir()
    network, _ = hub.mask2former_dinov2()
    save_file(weights_of(network), root / "weights.safetensors")
    manifest = open_bundle(root, verify=False).manifest
    layers = tuple(graph_weight(layer) for layer in adaptable_layers(network))
    write_manifest(root, replace(manifest, layers=layers, navigator=None))
    return open_bundle(root, verify=False)


@pytest.fixture
def base(bundle):
    """W0 of each layer of theirs, and our names of what it is stacked of."""
    names = [layer.name for layer in bundle.manifest.layers]
    weights = BaseWeights.open(bundle)
    found = {}
    for block in range(BLOCKS):
        for kind, own in LAYERS.items():
            ours = [n for o in own for n in names if n.endswith(f".{block}.{o}") and ENCODER in n]
            stacked = np.concatenate([weights.get(name) for name in ours])
            found[f"blocks.{block}.{kind}"] = (ours, stacked)
    return found


def trained(base, *, moved=0.1, merged=False):
    """Return their state dict after training, and the weight that each layer serves with."""
    rng, state, served = np.random.default_rng(0), {}, {}
    for module, (_, weight) in base.items():
        start = start_of("rrqr", weight, RANKS, alpha=1.0, rng=rng)
        stored = start.residual(weight)
        now = stored
        for pair, which in zip(start.pairs, ("main", "sub"), strict=True):
            a = pair.a + moved * rng.standard_normal(pair.a.shape).astype(np.float32)
            b = pair.b + moved * rng.standard_normal(pair.b.shape).astype(np.float32)
            state |= {
                f"backbone.{module}.lora_A_{which}": torch.from_numpy(a),
                f"backbone.{module}.lora_B_{which}": torch.from_numpy(b),
            }
            now = now + np.float32(start.scaling) * (b @ a)
        served[module] = now
        state[f"backbone.{module}.weight"] = torch.from_numpy(now if merged else stored)
    state["decode_head.query_embed.weight"] = torch.zeros(4, 8)
    return state, served


def written(state, path):
    torch.save({"meta": {"iter": 40000}, "state_dict": state}, path)
    return path


@pytest.mark.parametrize("merged", [False, True], ids=["in training", "in evaluation"])
def test_the_plain_lora_is_their_change_of_w0(bundle, base, tmp_path, merged):
    state, served = trained(base, merged=merged)
    adapter = read_recycled(written(state, tmp_path / "iter_40000.pth"), bundle, name="rain")
    for module, (names, weight) in base.items():
        parts = [adapter.layers[name] for name in names]
        assert all(part.lora_a.shape[0] <= 2 * RANKS.total for part in parts)
        change = np.concatenate([p.scaling * (p.lora_b @ p.lora_a) for p in parts])
        np.testing.assert_allclose(weight + change, served[module], atol=1e-6, err_msg=module)
    assert len(adapter.layers) == 6 * BLOCKS


def test_before_training_nothing_is_changed(bundle, base, tmp_path):
    state, _ = trained(base, moved=0.0)
    adapter = read_recycled(written(state, tmp_path / "iter_0.pth"), bundle, name="rain")
    for layer in adapter.layers.values():
        assert np.abs(layer.scaling * (layer.lora_b @ layer.lora_a)).max() < 1e-6


def test_the_command_puts_it_into_the_library(bundle, base, tmp_path, capsys):
    path = written(trained(base)[0], tmp_path / "rain.pth")
    assert main(["library", "add", str(bundle.root), str(path)]) == 0
    assert "rain" in capsys.readouterr().out
    library = AdapterLibrary.of(bundle)
    assert (library.names, library.problems) == (("rain",), {})
    expected = read_recycled(path, bundle, name="rain")
    for name, layer in library.get("rain").layers.items():
        np.testing.assert_array_equal(layer.lora_b, expected.layers[name].lora_b)
    assert main(["library", "remove", str(bundle.root), "rain"]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"backbone.x": torch.ones(2)}, "expected layers such as .*lora_A_main"),
        (lambda s: {k: v for k, v in s.items() if "fc1.lora_B_sub" not in k}, "fit each other"),
        (lambda s: {k: v.half() for k, v in s.items()}, "blocks.0.attn.qkv.*in float32"),
        (
            lambda s: {k: v * 1.01 if k.endswith("proj.weight") else v for k, v in s.items()},
            "'blocks.0.attn.proj': expected a residual of the bundle's own base weights",
        ),
        (
            lambda s: {k.replace("blocks.1", "blocks.9"): v for k, v in s.items()},
            "adapts 'blocks.9.attn.qkv': expected a bundle whose backbone is the same DINOv2",
        ),
        (
            lambda s: {k: v[:, :5] if "A_" in k or "weight" in k else v for k, v in s.items()},
            "of another size",
        ),
    ],
)
def test_another_checkpoint_is_refused_in_one_line(bundle, base, tmp_path, change, message):
    path = written(change(trained(base)[0]), tmp_path / "odd.pth")
    with pytest.raises(AdapterError, match=message) as caught:
        read_recycled(path, bundle, name="rain")
    assert "\n" not in str(caught.value)
