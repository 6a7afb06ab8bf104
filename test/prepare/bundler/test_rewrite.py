"""A bundle with its attention open: same masks, and adapters of q, k, v and out_proj that act."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.cli import main
from semla_ros.core.errors import BundleError
from semla_ros.core.types import AdapterMix, LoraAdapter, LoraLayer
from semla_ros.engine import create_engine
from semla_ros.engine.text import TextEncoder
from semla_ros.engine.torch_engine import load_network
from semla_ros.pipeline.weight_set import make_weight_set
from semla_ros.prepare.bundler.rewrite import open_attention

OUT = ".attn.out_proj"
IMAGE = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def opened(tiny: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return open_attention(tiny, tmp_path_factory.mktemp("opened") / "bundle")


def _adapter(bundle: ModelBundle, ending: str) -> LoraAdapter:
    rng = np.random.default_rng(2)
    layers = {}
    for layer in bundle.manifest.layers:
        if layer.name.endswith(ending):
            out, into = layer.shape
            a = rng.standard_normal((2, into), dtype=np.float32)
            b = rng.standard_normal((out, 2), dtype=np.float32)
            layers[layer.name] = LoraLayer(a, b, 0.3)
    return LoraAdapter("made", layers, bundle.manifest.base_model)


def _logits(bundle: ModelBundle, engine_name: str, adapter: LoraAdapter | None):
    mix = AdapterMix.base_only() if adapter is None else AdapterMix((adapter.name,), (1.0,))
    with create_engine(engine_name, bundle, threads=1) as engine:
        weights = make_weight_set(
            mix,
            [] if adapter is None else [adapter],
            base=BaseWeights.open(bundle),
            text=TextEncoder(bundle, threads=1),
            vocabulary=bundle.manifest.vocabulary,
            image_layers=engine.facts.layers,
        )
        engine.prepare(weights)
        engine.commit()
        return engine.logits(IMAGE)


def _merged_by_hand(bundle: ModelBundle, adapter: LoraAdapter):
    """Return the logits of the network whose weights are W0 + s B A, without any engine."""
    import torch

    model = load_network(bundle).eval()
    modules = dict(model.named_modules())
    tokens = torch.from_numpy(TextEncoder(bundle).tokens(bundle.manifest.vocabulary).copy())
    with torch.no_grad():
        for name, layer in adapter.layers.items():
            owner, _, leaf = name.rpartition(".")
            weight = (
                modules[name].weight
                if name in modules
                else getattr(modules[owner], f"{leaf}_weight")
            )
            weight += torch.from_numpy(layer.scaling * layer.lora_b @ layer.lora_a)
        image = torch.from_numpy(IMAGE.astype(np.float32)).permute(2, 0, 1)[None]
        return model(image, model.encode_text(tokens))[0].numpy()


@pytest.mark.parametrize("engine", ["onnx", "torch"])
@pytest.mark.parametrize("ending", [OUT, ".attn.q_proj", ".attn.k_proj", ".attn.v_proj"])
def test_what_adapters_of_attention_change_is_what_torch_makes(
    opened: ModelBundle, engine: str, ending: str
) -> None:
    adapter = _adapter(opened, ending)
    base = _logits(opened, engine, None)
    changed = _logits(opened, engine, adapter)
    assert np.abs(changed - base).max() > 1e-2
    np.testing.assert_allclose(changed, _merged_by_hand(opened, adapter), atol=2e-4)


def test_openvino_takes_such_layers_too(opened: ModelBundle) -> None:
    pytest.importorskip("openvino", reason="needs openvino: pip install openvino")
    adapter = _adapter(opened, OUT)
    changed = _logits(opened, "openvino", adapter)
    np.testing.assert_allclose(changed, _logits(opened, "onnx", adapter), atol=1e-3)


def test_weights_masks_and_adapters_stay(opened: ModelBundle, tiny: ModelBundle) -> None:
    assert opened.manifest.base_model == tiny.manifest.base_model
    assert {x.name for x in tiny.manifest.layers} < {x.name for x in opened.manifest.layers}
    np.testing.assert_array_equal(_logits(opened, "onnx", None), _logits(tiny, "onnx", None))
    theirs = sorted(p.name for p in tiny.library.iterdir())
    assert sorted(p.name for p in opened.library.iterdir()) == theirs


def test_the_command_writes_it_and_refuses_a_folder_that_is_there(
    tiny: ModelBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "wide"
    assert main(["bundle", "open-attention", str(tiny.root), "--out", str(out)]) == 0
    names = [layer.name for layer in open_bundle(out).manifest.layers]
    assert any(name.endswith(OUT) for name in names)
    assert main(["bundle", "open-attention", str(tiny.root), "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(BundleError, match="exists already"):
        open_attention(tiny, out)
