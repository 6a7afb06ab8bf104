"""The bundle writer: whole or not at all, and what it writes opens and verifies."""

import shutil

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

from semla_ros.bundle import AdaptationDefaults, open_bundle, reseal  # noqa: E402
from semla_ros.core.errors import BundleError  # noqa: E402
from semla_ros.prepare.bundler.writer import state_identity  # noqa: E402


def test_a_written_bundle_verifies_and_names_every_live_layer(tiny):
    bundle = open_bundle(tiny.root)
    names = {layer.name for layer in bundle.manifest.layers}
    assert any(".visual." in name for name in names)
    assert any(layer.graph == "text" for layer in bundle.manifest.layers)
    assert not any("q_proj" in name for name in names), "q, k, v adapters are inert in SemLA"
    assert set(bundle.manifest.files) == {
        "navigator.onnx",
        "segmentation.onnx",
        "text_encoder.onnx",
        "tokenizer.json",
        "weights.safetensors",
    }


def test_an_edited_file_is_refused_by_name(tiny, tmp_path):
    root = shutil.copytree(tiny.root, tmp_path / "copy")
    with (root / "tokenizer.json").open("a") as stream:
        stream.write(" ")
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        open_bundle(root)


def test_resealing_changes_the_defaults_alone(tiny, tmp_path):
    copy = open_bundle(shutil.copytree(tiny.root, tmp_path / "copy"))
    defaults = AdaptationDefaults(0.5, 7, "euclidean", "inverse", 3.0, 0.25, 9.0)
    again = open_bundle(reseal(copy, defaults=defaults).root)
    assert again.manifest.defaults == defaults
    assert again.manifest.files == tiny.manifest.files


def test_identity_follows_names_shapes_and_values():
    one = {"a": torch.ones(2, 3)}
    assert state_identity(one, prefix="x") == state_identity({"a": torch.ones(2, 3)}, prefix="x")
    others = ({"b": torch.ones(2, 3)}, {"a": torch.ones(3, 2)}, {"a": torch.zeros(2, 3)})
    assert len({state_identity(s, prefix="x") for s in (one, *others)}) == 4
