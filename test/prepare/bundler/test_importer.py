"""`semla bundle import` on small checkpoints in the published layouts, good and bad."""

import importlib.util
import json
import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
if importlib.util.find_spec("open_clip") is None:
    pytest.skip("needs open_clip_torch: scripts/setup --dev", allow_module_level=True)

from fakes import with_taps  # noqa: E402
from prepare.bundler import upstream  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from semla_ros.bundle import open_bundle  # noqa: E402
from semla_ros.cli import main  # noqa: E402
from semla_ros.core.errors import SemlaError  # noqa: E402
from semla_ros.core.types import AdapterMix, Vocabulary  # noqa: E402
from semla_ros.core.weights import UNCHANGED, WeightSet  # noqa: E402
from semla_ros.engine import create_engine  # noqa: E402
from semla_ros.engine.text import TextEncoder  # noqa: E402
from semla_ros.library.library import AdapterLibrary  # noqa: E402
from semla_ros.network.catseg import ABSENT_LOGIT  # noqa: E402
from semla_ros.network.checkpoint import catseg_from_state  # noqa: E402
from semla_ros.prepare.bundler.importer import ImportRequest, import_bundle  # noqa: E402
from semla_ros.prepare.bundler.navigator_import import NavigatorRequest  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return upstream.network()


@pytest.fixture(scope="module")
def source(model, tmp_path_factory):
    """A fork checkpoint and a loradb, as downloaded; treat as read-only."""
    folder = tmp_path_factory.mktemp("source")
    upstream.save_checkpoint(folder / "model.pth", upstream.fork_state(model))
    upstream.write_loradb(folder / "loradb")
    return folder


@pytest.fixture(scope="module")
def imported(source, tmp_path_factory):
    return import_bundle(request_for(source, tmp_path_factory.mktemp("made") / "bundle"))


def request_for(source, out, **changes):
    request = ImportRequest(
        checkpoint=source / "model.pth",
        loradb=source / "loradb",
        classes="cityscapes",
        navigator=NavigatorRequest("none"),
        out=out,
        adapter_guidance="as_trained",
        class_pooling=2,
    )
    return replace(request, **changes)


def test_the_defaults_are_how_semla_evaluates(source, tmp_path):
    none = NavigatorRequest("none")
    request = ImportRequest(source / "model.pth", None, "cityscapes", none, tmp_path)
    assert (request.adapter_guidance, request.class_pooling) == ("as_base", 1)


def test_the_bundle_is_what_was_published(imported, model):
    bundle = open_bundle(imported.bundle.root)
    manifest = bundle.manifest
    assert manifest.adapter_guidance == "as_trained"
    assert manifest.segmentation.size == 32
    assert manifest.text.template == "A photo of a {} in the scene"
    assert manifest.vocabulary.names[:3] == ("road", "sidewalk", "building")
    assert manifest.navigator is None
    assert imported.skipped == {}
    modes = {path.stat().st_mode & 0o044 for path in bundle.root.rglob("*")}
    assert len(modes) == 1, "a robot's own user must be able to read all of it"
    stored = load_file(bundle.weights)
    for key, tensor in model.state_dict().items():
        assert torch.equal(stored[key], tensor), key
    library = AdapterLibrary.open(
        bundle.library,
        layers=manifest.layers,
        base_model=manifest.base_model,
        encoder=None,
        dim=None,
    )
    assert library.names == upstream.DOMAINS
    assert not library.problems


@torch.no_grad()
def test_onnx_reads_the_first_tap_twice_under_adapters_and_not_without(imported, model):
    bundle = imported.bundle
    vocabulary = bundle.manifest.vocabulary
    text = TextEncoder(bundle).encode(vocabulary, UNCHANGED)
    rgb = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
    first = model.config.taps[0]
    doubled = with_taps(model, (first, first))
    cases = {AdapterMix.base_only(): model, AdapterMix(("fog",), (1.0,)): doubled}
    answers = []
    with create_engine("onnx", bundle, threads=1) as engine:
        for mix, network in [*cases.items(), next(iter(cases.items()))]:
            engine.prepare(WeightSet(mix, UNCHANGED, text, vocabulary))
            engine.commit()
            answers.append(engine.logits(rgb))
            expected = network(image, torch.from_numpy(text.copy()))[0].numpy()
            np.testing.assert_allclose(answers[-1], expected, atol=1e-4)
    assert np.abs(answers[0] - answers[1]).max() > 1e-3
    np.testing.assert_array_equal(answers[0], answers[2])


def test_both_engines_keep_the_same_256_of_more_classes(imported):
    bundle = imported.bundle
    names = tuple(f"thing {index}" for index in range(300))
    vocabulary = Vocabulary(names, np.zeros((300, 3), np.uint8))
    text = TextEncoder(bundle).encode(vocabulary, UNCHANGED)
    rgb = np.random.default_rng(0).integers(0, 256, (40, 32, 3), dtype=np.uint8)
    answers = []
    for name in ("onnx", "torch"):
        with create_engine(name, bundle, threads=1) as engine:
            engine.prepare(WeightSet(AdapterMix.base_only(), UNCHANGED, text, vocabulary))
            engine.commit()
            answers.append(engine.logits(rgb).copy())
    absent = (answers[0] == ABSENT_LOGIT).all(axis=(1, 2))
    assert absent.sum() == 300 - 256
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-4)


def test_class_pooling_is_built_in_and_remembered(source, imported, model, tmp_path):
    made = import_bundle(request_for(source, tmp_path / "fine", loradb=None, class_pooling=1))
    bundle = made.bundle
    assert bundle.manifest.segmentation.class_pooling == 1
    assert imported.bundle.manifest.segmentation.class_pooling == 2
    vocabulary = bundle.manifest.vocabulary
    text = TextEncoder(bundle).encode(vocabulary, UNCHANGED)
    rgb = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    fine = catseg_from_state(model.state_dict(), replace(upstream.CONFIG, pooling=1))
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        expected, coarse = (m(image, torch.from_numpy(text.copy()))[0] for m in (fine, model))
    for name in ("onnx", "torch"):
        with create_engine(name, bundle, threads=1) as engine:
            engine.prepare(WeightSet(AdapterMix.base_only(), UNCHANGED, text, vocabulary))
            engine.commit()
            np.testing.assert_allclose(engine.logits(rgb), expected.numpy(), atol=1e-4)
    assert (expected - coarse).abs().max() > 1e-3


def test_upstream_safetensors_and_half_precision_give_the_same_network(imported, model, tmp_path):
    from semla_ros.prepare.bundler.importer import read_model

    state = upstream.upstream_state(model)
    save_file(state, tmp_path / "model.safetensors")
    upstream.save_checkpoint(tmp_path / "half.pth", {k: v.half() for k, v in state.items()})
    for name, tolerance in (("model.safetensors", 0.0), ("half.pth", 1e-2)):
        read = read_model(tmp_path / name).state_dict()
        for key, tensor in model.state_dict().items():
            torch.testing.assert_close(read[key], tensor, rtol=0, atol=tolerance)


def test_adapters_that_change_qkv_need_a_decision(source, model, tmp_path):
    loradb = tmp_path / "loradb"
    tensors = upstream.adapter_tensors(upstream.CONFIG, seed=5, live_qkv=True)
    upstream.write_domain(loradb / "rain", tensors)
    out = tmp_path / "bundle"
    with pytest.raises(SemlaError, match=r"--qkv ignore.*--qkv apply"):
        import_bundle(request_for(source, out, loradb=loradb))
    assert not out.exists()
    live = {}
    for policy in ("ignore", "apply"):
        made = import_bundle(
            request_for(source, tmp_path / policy, loradb=loradb, qkv=policy)
        ).bundle
        library = AdapterLibrary.open(
            made.library,
            layers=made.manifest.layers,
            base_model=made.manifest.base_model,
            encoder=None,
            dim=None,
        )
        live[policy] = {n for n in library.get("rain").layers if "_proj" in n and "attn" in n}
    assert live["ignore"] == set()
    last = "visual.transformer.resblocks.2.attn"
    assert any(n.endswith(f"{last}.v_proj") for n in live["apply"])
    assert not any(n.endswith(f"{last}.q_proj") for n in live["apply"]), "never read"


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch semla-was-here",)


def damaged(change):
    """Return a maker of checkpoints whose state is changed in place before saving."""

    def make(path, model):
        state = upstream.upstream_state(model)
        change(state)
        upstream.save_checkpoint(path, state)

    return make


def truncated(path, model):
    upstream.save_checkpoint(path, upstream.upstream_state(model))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_code(path, model):
    torch.save({"model": upstream.upstream_state(model), "trainer": RunsCode()}, path)


UPSAMPLE = "upsample1.bias"
QUERY = "sem_seg_head.predictor.clip_model.transformer.resblocks.0.attn.q_proj.weight"
BAD_CHECKPOINTS = {
    "would run code from the file": with_code,
    "damaged or half downloaded": truncated,
    "expected a checkpoint file, found none": lambda path, model: None,
    "a web page": lambda path, model: path.write_bytes(b"<!DOCTYPE html>" + b" " * 99),
    "Git LFS pointer": lambda path, model: path.write_bytes(
        b"version https://git-lfs.github.com/spec/v1\n"
    ),
    "neither a PyTorch file nor whole safetensors": lambda path, model: path.write_bytes(
        bytes(200)
    ),
    "got a list": lambda path, model: torch.save([1, 2, 3, "weights"], path),
    "expected CAT-Seg with keys": lambda path, model: torch.save(
        {f"backbone.{i}.weight": torch.ones(2) for i in range(3)}, path
    ),
    "upsample1.bias": damaged(lambda state: state.pop(UPSAMPLE)),
    "extra.key": damaged(lambda state: state.update({"extra.key": torch.ones(1)})),
    "NaN or infinity": damaged(lambda state: state[UPSAMPLE].fill_(float("nan"))),
    "claims": damaged(
        lambda state: state.update({UPSAMPLE: torch.ones(1).expand(50_000, 50_000)})
    ),
    "absurd shape": damaged(lambda state: state.update({UPSAMPLE: torch.ones(0, 8)})),
    "of another shape": damaged(lambda state: state.update({UPSAMPLE: torch.ones(9)})),
    "q_proj": damaged(lambda state: state.update({QUERY: torch.ones(64, 64)})),
    "expected a tensor under": damaged(lambda state: state.update({"note": "text"})),
}


@pytest.mark.parametrize("message", BAD_CHECKPOINTS)
def test_a_bad_checkpoint_is_one_line_and_leaves_nothing(
    message, source, model, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given.pth"
    BAD_CHECKPOINTS[message](path, model)
    before = sorted(tmp_path.iterdir())
    words = ["bundle", "import", "--checkpoint", path, "--loradb", source / "loradb"]
    words += ["--classes", "cityscapes", "--navigator", "none", "--out", tmp_path / "bundle"]
    code = main([str(word) for word in words])
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.startswith("semla: error: ")
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before, "something was left behind, or code ran"


def cut_tensors(folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def change_config(**changes):
    def change(folder):
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def of_another_size(folder):
    shutil.rmtree(folder)
    wide = replace(upstream.CONFIG, vision_width=128, vision_heads=2)
    upstream.write_domain(folder, upstream.adapter_tensors(wide, seed=1))


BAD_ADAPTERS = {
    "damaged or truncated": cut_tensors,
    "found none: copy the adapter": lambda folder: (folder / "adapter_config.json").unlink(),
    "use an adapter trained on this bundle's base": change_config(
        base_model_name_or_path="catseg:0123456789abcdef"
    ),
    "made for another model size": of_another_size,
    "expected peft_type 'LORA'": change_config(peft_type="IA3"),
    "expected a plain LoRA": change_config(use_dora=True),
}


@pytest.mark.parametrize("message", BAD_ADAPTERS)
def test_a_bad_adapter_calls_the_import_off_and_is_named(message, source, tmp_path):
    loradb = shutil.copytree(source / "loradb", tmp_path / "loradb")
    BAD_ADAPTERS[message](loradb / "fog")
    out = tmp_path / "made" / "bundle"
    with pytest.raises(SemlaError, match=r"1 of 2 adapters.*'fog'") as error:
        import_bundle(request_for(source, out, loradb=loradb))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not out.exists()


def test_unusable_adapters_can_be_left_out(source, tmp_path, capsys):
    loradb = shutil.copytree(source / "loradb", tmp_path / "loradb")
    cut_tensors(loradb / "fog")
    out = tmp_path / "bundle"
    words = ["bundle", "import", "--checkpoint", source / "model.pth", "--loradb", loradb]
    words += ["--classes", "road;sky", "--navigator", "none", "--out", out, "--skip-unusable"]
    assert main([str(word) for word in words]) == 1
    assert "left out fog" in capsys.readouterr().err
    assert [p.name for p in sorted((out / "library").iterdir())] == ["night"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "sed"}, r"family of .*'catseg', 'transformers'.*, got 'sed'"),
        ({"qkv": "maybe"}, "'maybe'"),
        ({"adapter_guidance": "best"}, "'best'"),
        ({"classes": "nonsense"}, "'cityscapes'.*'nonsense'"),
        ({"classes": "road;road"}, "distinct class names"),
        ({"classes": "road;, car"}, "no empty name"),
        ({"class_pooling": 3}, "class pooling of"),
        ({"navigator": NavigatorRequest("clip-vit-xxl")}, "did you mean"),
        ({"navigator": NavigatorRequest("ViT-B-32:nobody")}, "expected weights of"),
        ({"navigator": NavigatorRequest("dinov2-vit-z-14")}, "DINOv2"),
        ({"loradb": Path("nowhere")}, "expected a folder of adapters"),
    ],
)
def test_wrong_words_are_refused(source, tmp_path, changes, message):
    out = tmp_path / "bundle"
    with pytest.raises(SemlaError, match=message):
        import_bundle(request_for(source, out, **changes))
    assert not out.exists()


def test_an_existing_folder_is_never_touched(source, tmp_path):
    with pytest.raises(SemlaError, match="exists already"):
        import_bundle(request_for(source, tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [1_000_000, 2_000_000], ids=["tokenizer", "weights"])
def test_a_full_disk_is_one_line_and_leaves_nothing(source, tmp_path, limit):
    """A limit on file sizes stands in for the full disk; each stops another file half-way."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    out = tmp_path / "made" / "bundle"
    request = request_for(source, out, loradb=None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(SemlaError, match=r"cannot write .*check space and rights") as error:
            import_bundle(request)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
    assert "\n" not in str(error.value)
    assert list(out.parent.iterdir()) == []


def test_weights_beside_the_graph_are_sealed_and_served(source, imported, tmp_path, monkeypatch):
    """What happens to weights that no protobuf holds, with a limit that small graphs exceed."""
    from semla_ros.prepare.bundler import graph_file

    monkeypatch.setattr(graph_file, "MAX_INLINE_BYTES", 10_000)
    bundle = import_bundle(request_for(source, tmp_path / "large", loradb=None)).bundle
    for graph in ("segmentation.onnx", "text_encoder.onnx"):
        assert f"{graph}.data" in bundle.manifest.files
        assert (bundle.root / graph).stat().st_size < 1_000_000
    vocabulary = bundle.manifest.vocabulary
    rgb = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    answers = []
    for each in (bundle, imported.bundle):
        text = TextEncoder(each).encode(vocabulary, UNCHANGED)
        with create_engine("onnx", each, threads=1) as engine:
            engine.prepare(WeightSet(AdapterMix.base_only(), UNCHANGED, text, vocabulary))
            engine.commit()
            answers.append(engine.logits(rgb).copy())
    np.testing.assert_array_equal(*answers)
    data = bundle.root / "segmentation.onnx.data"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    with pytest.raises(SemlaError, match=r"segmentation\.onnx\.data' was edited or damaged"):
        open_bundle(bundle.root)
