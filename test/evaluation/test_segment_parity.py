"""The official numbers through the whole path: files as published, import, segment, files out.

About three minutes on two free cores, most of it two exports of a ViT-B/16: without options as
SemLA evaluates, and as its configuration files and its training have it.
"""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
if importlib.util.find_spec("open_clip") is None:
    pytest.skip("needs open_clip_torch: scripts/setup --dev", allow_module_level=True)

from network import conftest as rules  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

from semla_ros.cli import main  # noqa: E402

pytestmark = pytest.mark.slow

LOGIT_TOLERANCE = 2e-3
LABEL_AGREEMENT = 0.999
NETWORK = Path(__file__).parents[1] / "network"
DATA = NETWORK / "data"
DOMAINS = ("first", "second", "third")
MIX = "first=0.5,second=0.3,third=0.2"


def write_checkpoint(path, *, fork):
    """Write the rule-made weights as upstream or SemLA's fork saves them."""
    shapes, _ = rules.load_shapes()
    state = {k: torch.from_numpy(np.array(rules.rule_tensor(k, s))) for k, s in shapes.items()}
    for number in (0, 1):
        layer = f"sem_seg_head.predictor.transformer.layers.{number}"
        state[f"{layer}.swin_block.block_2.attn_mask"] = torch.zeros(4, 144, 144)
    if fork:
        for key in [k for k in state if k.endswith("_proj_weight")]:
            state[key.removesuffix("_weight") + ".weight"] = state[key]
    assert len(state) == (556 if fork else 484), "the published number of keys"
    torch.save({"model": state, "iteration": 79999}, path)


def write_adapters(root):
    _, modules = rules.load_shapes()
    config = json.dumps(
        {
            "auto_mapping": {"base_model_class": "CATSeg", "parent_library": "cat_seg"},
            "bias": "none",
            "inference_mode": True,
            "init_lora_weights": True,
            "lora_alpha": 16,
            "peft_type": "LORA",
            "r": 8,
            "target_modules": list(modules)[::-1],
            "use_dora": False,
            "use_rslora": False,
        }
    )
    for index, domain in enumerate(DOMAINS):
        tensors = {}
        for module, (a_shape, b_shape) in modules.items():
            a, b = rules.rule_adapter(module, a_shape, b_shape, index)
            tensors[f"base_model.model.{module}.lora_A.weight"] = a
            tensors[f"base_model.model.{module}.lora_B.weight"] = b
        (root / domain).mkdir(parents=True)
        save_file(tensors, root / domain / "adapter_model.safetensors", {"format": "pt"})
        (root / domain / "adapter_config.json").write_text(config)


def run(*words):
    assert main([str(word) for word in words]) == 0


def numbers(name):
    with np.load(DATA / f"catseg_vitb16_{name}.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def expected():
    """What the official code gives as SemLA's scripts evaluate: pooling 1, hooks once."""
    return numbers("published")


@pytest.fixture(scope="module")
def configured():
    """The same with pooling 2 and the doubled hooks of training."""
    return numbers("expected")


@pytest.fixture(scope="module")
def sources(tmp_path_factory, expected):
    folder = tmp_path_factory.mktemp("published")
    write_checkpoint(folder / "model_base.pth", fork=True)
    write_checkpoint(folder / "upstream.pth", fork=False)
    write_adapters(folder / "loradb")
    for name in ("image_384", "image_native"):
        cv2.imwrite(str(folder / f"{name}.png"), expected[name][..., ::-1])
    return folder


def imported(sources, name, *options):
    out = sources / name
    words = ("--checkpoint", sources / "model_base.pth", "--loradb", sources / "loradb")
    words += ("--classes", "cityscapes", "--navigator", "none", "--out", out)
    run("bundle", "import", "--family", "catseg", *words, *options)
    return out


@pytest.fixture(scope="module")
def bundle(sources):
    return imported(sources, "bundle")


def segmented(bundle, image, out, *words):
    """Return labels and, where they were saved, logits and text features."""
    run("segment", bundle, image, "--out", out, *words)
    labels = cv2.imread(str(out / f"{image.stem}_labels.png"), cv2.IMREAD_UNCHANGED)
    stored = {}
    if "--save-logits" in words:
        with np.load(out / f"{image.stem}.npz") as file:
            stored = dict(file)
    return labels, stored


@pytest.mark.parametrize("engine", ["onnx", "torch", "openvino", "auto"])
@pytest.mark.parametrize(("mix", "suffix"), [("none", ""), (MIX, "_mix")])
def test_logits_and_text_features(bundle, sources, tmp_path, expected, engine, mix, suffix):
    if engine == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("needs openvino: pip install '.[openvino]'")
    image = sources / "image_384.png"
    words = ("--mix", mix, "--engine", engine, "--save-logits", "--window", "single")
    labels, stored = segmented(bundle, image, tmp_path, *words)
    assert stored["logits"].shape == (19, 96, 96)
    np.testing.assert_allclose(
        stored["text_features"], expected[f"text_features{suffix}"], atol=1e-5
    )
    difference = np.abs(stored["logits"] - expected[f"logits_384{suffix}"]).max()
    assert difference <= LOGIT_TOLERANCE
    assert (labels == expected[f"labels_384{suffix}"]).mean() >= LABEL_AGREEMENT


@pytest.mark.parametrize(("mix", "suffix"), [("none", ""), (MIX, "_mix")])
def test_sliding_labels(bundle, sources, tmp_path, expected, mix, suffix):
    image, wanted = sources / "image_native.png", expected[f"labels_sliding{suffix}"]
    labels, _ = segmented(bundle, image, tmp_path, "--mix", mix, "--window", "sliding")
    assert labels.shape == wanted.shape
    assert (labels == wanted).mean() >= LABEL_AGREEMENT


def test_pooling_of_the_configuration_and_hooks_of_training(sources, tmp_path, configured):
    options = ("--class-pooling", "2", "--adapter-guidance", "as_trained")
    bundle = imported(sources, "configured", *options)
    for mix, suffix in (("none", ""), (MIX, "_mix")):
        words = ("--mix", mix, "--engine", "onnx", "--save-logits")
        image = sources / "image_384.png"
        _, stored = segmented(bundle, image, tmp_path / f"single{suffix}", *words)
        difference = np.abs(stored["logits"] - configured[f"logits_384{suffix}"]).max()
        assert difference <= LOGIT_TOLERANCE
    words = ("--mix", "none", "--window", "sliding")
    labels, _ = segmented(bundle, sources / "image_native.png", tmp_path / "sliding", *words)
    assert (labels == configured["labels_sliding"]).mean() >= LABEL_AGREEMENT


def test_upstreams_file_is_the_same_base(bundle, sources):
    from semla_ros.bundle import open_bundle
    from semla_ros.prepare.bundler.importer import read_model
    from semla_ros.prepare.bundler.writer import base_identity

    identity = base_identity(read_model(sources / "upstream.pth"))
    assert identity == open_bundle(bundle, verify=False).manifest.base_model
