"""From a checkpoint, adapters and a CLIP of the user's own to `segment --mix auto`.

The CLIP is small and its weights are random; its colours still tell dark pictures from bright.
"""

import importlib.util
import json
import shutil

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
if importlib.util.find_spec("open_clip") is None:
    pytest.skip("needs open_clip_torch: scripts/setup --dev", allow_module_level=True)

from prepare.bundler import upstream  # noqa: E402

from semla_ros.cli import main  # noqa: E402
from semla_ros.core.errors import SemlaError  # noqa: E402
from semla_ros.prepare.curation.audit import audit_library  # noqa: E402
from semla_ros.prepare.curation.describe import DescribeRequest, describe_library  # noqa: E402

NAME = "semla-test-words"
DOMAINS = {"fog": 210, "night": 25}


def scene(level, seed):
    noise = np.random.default_rng(seed).normal(0, 12, (48, 64, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A checkpoint, adapters without statistics, a CLIP and pictures of two domains."""
    root = tmp_path_factory.mktemp("source")
    upstream.save_checkpoint(root / "model.pth", upstream.fork_state(upstream.network()))
    upstream.write_loradb(root / "loradb")
    for domain, level in DOMAINS.items():
        (root / "loradb" / domain / f"{domain}_statistics.npz").unlink()
        (root / "images" / domain).mkdir(parents=True)
        for i in range(12):
            picture = scene(level, i)
            cv2.imwrite(str(root / "images" / domain / f"{i}.png"), picture)
    clip = upstream.small_clip(root, NAME, vocab_size=49408)
    torch.save(clip.state_dict(), root / "clip.pth")
    return root


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    """The bundle: imported without adapters, which are then embedded and added."""
    bundle = tmp_path_factory.mktemp("made") / "bundle"
    words = ["bundle", "import", "--checkpoint", source / "model.pth", "--classes", "cityscapes"]
    words += ["--navigator", NAME, "--navigator-checkpoint", source / "clip.pth"]
    with upstream.traced_once():
        assert main([str(w) for w in [*words, "--out", bundle]]) == 0
    for domain in DOMAINS:
        adapter = source / "loradb" / domain
        target = adapter / f"{domain}_statistics.npz"
        words = ["library", "embed", bundle, source / "images" / domain, "--name", domain]
        assert main([str(w) for w in [*words, "--out", target, "--threads", "1"]]) == 0
        assert main(["library", "add", str(bundle), str(adapter)]) == 0
    return bundle


@pytest.fixture
def bundle(made, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(made, copy)
    return copy


def segmented(bundle, image, out, mix):
    words = ["segment", str(bundle), str(image), "--out", str(out), "--mix", mix]
    assert main([*words, "--engine", "onnx", "--threads", "1", "--save-logits"]) == 0
    facts = json.loads((out / f"{image.stem}.json").read_text())
    with np.load(out / f"{image.stem}.npz") as arrays:
        return facts, arrays["logits"], arrays["text_features"]


@pytest.mark.parametrize("domain", DOMAINS)
def test_auto_takes_the_domain_of_the_picture(bundle, tmp_path, domain):
    image = tmp_path / "scene.png"
    cv2.imwrite(str(image), scene(DOMAINS[domain], 99))
    facts, logits, features = segmented(bundle, image, tmp_path / "auto", "auto")
    assert max(facts["mix"], key=facts["mix"].get) == domain
    assert min(facts["distances"], key=facts["distances"].get) == domain
    assert facts["support"]["nearest"] == domain
    written = ",".join(f"{name}={weight!r}" for name, weight in facts["mix"].items())
    _, same_logits, same_features = segmented(bundle, image, tmp_path / "same", written)
    np.testing.assert_allclose(logits, same_logits, atol=1e-5)
    np.testing.assert_allclose(features, same_features, atol=1e-6)
    _, base_logits, _ = segmented(bundle, image, tmp_path / "none", "none")
    assert np.abs(logits - base_logits).max() > 1e-3


def test_it_verifies_and_audits(bundle):
    assert main(["library", "verify", str(bundle)]) == 0
    audit = audit_library(bundle)
    assert audit.clean
    for adapter in audit.adapters:
        facts = adapter.facts
        assert facts.inert_tensors == 2 * facts.inert_qkv > 0
        assert facts.inert_qkv + facts.live_modules == facts.tensors // 2
        assert set(facts.groups) == {"image tower", "text tower", "aggregator"}
    first, second = (a.facts.fingerprint for a in audit.adapters)
    assert first != second


def test_the_bundle_brings_the_words_of_its_navigator(bundle, source):
    described = describe_library(DescribeRequest(bundle))
    assert [each.name for each in described] == ["fog", "night"]
    assert set(described[0].words) == {"place", "weather", "light", "scene"}
    by_model = describe_library(
        DescribeRequest(bundle, text_model=f"{NAME}:{source / 'clip.pth'}", prompts="driving")
    )
    assert [d.likenesses for d in by_model] == [d.likenesses for d in described]


def test_without_words_a_text_model_of_the_same_weights_gives_them(bundle, source, tmp_path):
    (expected, _) = describe_library(DescribeRequest(bundle))
    path = bundle / "bundle.yaml"
    manifest = yaml.safe_load(path.read_text())
    del manifest["files"]["navigator_prompts.npz"]
    path.write_text(yaml.safe_dump(manifest))
    (bundle / "navigator_prompts.npz").unlink()
    (bundle / "library" / "fog" / "description.json").unlink()
    with pytest.raises(SemlaError, match="brings no words"):
        describe_library(DescribeRequest(bundle))
    request = DescribeRequest(bundle, ("fog",), text_model=f"{NAME}:{source / 'clip.pth'}")
    (got,) = describe_library(request)
    for one, other in zip(got.likenesses, expected.likenesses, strict=True):
        assert one.prompt == other.prompt
        assert one.cosine == pytest.approx(other.cosine, abs=1e-5)
    state = torch.load(source / "clip.pth", weights_only=True)
    state["visual.proj"] = state["visual.proj"] + 1
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(SemlaError, match="expected words for the navigator"):
        describe_library(DescribeRequest(bundle, text_model=f"{NAME}:{tmp_path / 'other.pth'}"))


def test_an_unknown_text_model_is_named(bundle):
    with pytest.raises(SemlaError, match="did you mean"):
        describe_library(DescribeRequest(bundle, text_model="ViT-B-33"))
