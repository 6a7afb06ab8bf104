"""SegFormer from transformers: imported, held against the library, adapted as PEFT does it."""

import importlib.util
import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
for package in ("transformers", "peft"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}: scripts/setup --dev", allow_module_level=True)

from prepare.bundler import hub  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from semla_ros.bundle import open_bundle  # noqa: E402
from semla_ros.bundle.base_weights import BaseWeights  # noqa: E402
from semla_ros.bundle.onnx_session import open_session  # noqa: E402
from semla_ros.cli import main  # noqa: E402
from semla_ros.core.config import Config  # noqa: E402
from semla_ros.core.errors import (  # noqa: E402
    EngineError,
    EngineUnavailableError,
    SemlaError,
    VocabularyError,
)
from semla_ros.core.types import AdapterMix, Vocabulary  # noqa: E402
from semla_ros.core.viz.palette import vocabulary_of  # noqa: E402
from semla_ros.core.weights import UNCHANGED, WeightSet  # noqa: E402
from semla_ros.engine import create_engine  # noqa: E402
from semla_ros.engine.closed_text import open_text  # noqa: E402
from semla_ros.evaluation.windows import single_window, sliding_window  # noqa: E402
from semla_ros.library.fusion import MergedWeights  # noqa: E402
from semla_ros.library.library import AdapterLibrary  # noqa: E402
from semla_ros.pipeline.assembly import build_pipeline  # noqa: E402
from semla_ros.prepare.bundler.importer import ImportRequest, import_bundle  # noqa: E402
from semla_ros.prepare.bundler.navigator_import import NavigatorRequest  # noqa: E402
from semla_ros.prepare.bundler.transformers.checkpoint import import_transformers  # noqa: E402
from semla_ros.prepare.bundler.transformers.heads import KINDS, Pixels, Segmenter  # noqa: E402

TOLERANCE = 1e-4
IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255)
ENGINES = ("onnx", "openvino")
OLD_NAME = "segformer.encoder.block.0.0.attention.self.query"
NEW_NAME = "segformer.stages.0.blocks.0.attention.q_proj"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A SegFormer's folder and three adapters, one under names of transformers 4."""
    folder = tmp_path_factory.mktemp("hub") / "segformer-tiny"
    hub.save(hub.segformer(), folder)
    loradb = folder.parent / "loradb"
    hub.save_adapter(hub.adapted(hub.segformer(), hub.LINEAR, seed=1), loradb / "fog")
    everything = [*hub.LINEAR, *hub.CONVOLUTIONS]
    hub.save_adapter(hub.adapted(hub.segformer(), everything, seed=2), loradb / "night")
    shutil.copytree(loradb / "fog", loradb / "fog-of-4")
    rename(loradb / "fog-of-4", {NEW_NAME: OLD_NAME})
    for adapter in loradb.iterdir():
        configure(adapter, base_model_name_or_path=f"someone/{folder.name}")
    return folder


def configure(adapter, **changes):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rename(adapter, names):
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    for new, old in names.items():
        tensors = {key.replace(new, old): value for key, value in tensors.items()}
    save_file(tensors, path)
    configure(adapter, target_modules=["query", *hub.LINEAR])


def request_for(source, out, **changes):
    usual = {
        "checkpoint": source,
        "loradb": source.parent / "loradb",
        "classes": None,
        "navigator": NavigatorRequest("none"),
        "family": "transformers",
    }
    return ImportRequest(out=out, **{**usual, **changes})


@pytest.fixture(scope="module")
def bundle(source, tmp_path_factory):
    made = import_bundle(request_for(source, tmp_path_factory.mktemp("made") / "bundle"))
    assert made.skipped == {}
    return open_bundle(made.bundle.root)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, bundle):
    with create_engine(request.param, bundle, threads=1, precision="f32") as opened:
        yield opened


@pytest.fixture(scope="module")
def rgb():
    coarse = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 8, 0), 8, 1)


def weight_set(bundle, mix):
    library, base = AdapterLibrary.of(bundle), BaseWeights.open(bundle)
    adapters = [library.get(name) for name in mix.names if name != "base"]
    vocabulary = bundle.manifest.vocabulary
    features = open_text(bundle).encode(vocabulary, UNCHANGED)
    return WeightSet(mix, MergedWeights(base, adapters, mix), features, vocabulary)


def answer(engine, bundle, mix, rgb):
    engine.prepare(weight_set(bundle, mix))
    engine.commit()
    return engine.logits(rgb)


def torch_logits(network, rgb):
    image = torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        return Segmenter(network, KINDS["segformer"], IMAGENET)(image)[0].numpy()


def close(got, expected):
    bound = TOLERANCE * np.abs(expected).max()
    np.testing.assert_allclose(got, expected, rtol=0, atol=bound)
    return (got.argmax(0) == expected.argmax(0)).mean() >= 0.999


def test_the_manifest_says_what_the_graph_takes_and_gives(bundle, source):
    manifest = bundle.manifest
    assert (manifest.family, manifest.text, manifest.navigator) == ("transformers", None, None)
    assert manifest.segmentation.shape == hub.SIZE
    assert manifest.segmentation.activation == "softmax"
    assert manifest.vocabulary.names == hub.LABELS
    assert manifest.base_names == (source.name,)
    by_name = {layer.name: layer for layer in manifest.layers}
    assert by_name[NEW_NAME].aliases == (OLD_NAME,)
    fuse = by_name["decode_head.linear_fuse"]
    assert (fuse.shape, fuse.kernel) == ((16, 64), (64, 1, 1))
    assert "segformer.stages.0.patch_embeddings.proj" not in by_name  # no adapter touches it


def test_base_weights_answer_as_transformers_does(engine, bundle, rgb):
    got = answer(engine, bundle, AdapterMix.base_only(), rgb)
    assert close(got, torch_logits(hub.segformer(), rgb))


def test_image_to_mask_is_the_librarys_own_way(engine, bundle, source, rgb):
    """Its image processor, its network, its post-processing: only resizing is not tried here."""
    library, network = import_transformers(), hub.segformer()
    processor = library.AutoImageProcessor.from_pretrained(source)
    with torch.inference_mode():
        found = network(**processor(rgb, return_tensors="pt"))
    (expected,) = processor.post_process_semantic_segmentation(found, target_sizes=[hub.SIZE])
    answer(engine, bundle, AdapterMix.base_only(), rgb)
    assert (engine.infer(rgb).labels == expected.numpy()).mean() >= 0.999
    assert (single_window(engine, rgb).labels.labels == expected.numpy()).mean() >= 0.999


@pytest.mark.parametrize(
    ("name", "targets", "seed"),
    [("fog", hub.LINEAR, 1), ("night", [*hub.LINEAR, *hub.CONVOLUTIONS], 2)],
)
def test_an_adapter_answers_as_peft_merged_it(engine, bundle, rgb, name, targets, seed):
    merged = hub.adapted(hub.segformer(), targets, seed=seed).merge_and_unload()
    got = answer(engine, bundle, AdapterMix((name,), (1.0,)), rgb)
    assert close(got, torch_logits(merged, rgb))
    base = torch_logits(hub.segformer(), rgb)
    assert np.abs(got - base).max() > 0.1 * np.abs(base).max()  # the adapters matter


def test_a_mix_is_the_weighted_sum_of_pefts_deltas(engine, bundle, rgb):
    network = hub.segformer()
    parameters = dict(network.named_parameters())
    changes = {}
    for weight, (targets, seed) in {0.3: (hub.LINEAR, 1), 0.7: (None, 2)}.items():
        targets = targets or [*hub.LINEAR, *hub.CONVOLUTIONS]
        wrapped = hub.adapted(hub.segformer(), targets, seed=seed)
        for name, module in wrapped.base_model.model.named_modules():
            if hasattr(module, "get_delta_weight"):
                delta = module.get_delta_weight("default").detach()
                changes[name] = changes.get(name, 0) + weight * delta
    with torch.no_grad():
        for name, change in changes.items():
            parameters[f"{name}.weight"] += change
    got = answer(engine, bundle, AdapterMix(("night", "fog"), (0.7, 0.3)), rgb)
    assert close(got, torch_logits(network, rgb))


def test_names_of_transformers_4_mean_the_same_layers(engine, bundle, rgb):
    new = answer(engine, bundle, AdapterMix(("fog",), (1.0,)), rgb)
    old = answer(engine, bundle, AdapterMix(("fog-of-4",), (1.0,)), rgb)
    np.testing.assert_array_equal(old, new)


def test_the_way_back_is_bit_identical(engine, bundle, rgb):
    night, base = AdapterMix(("night",), (1.0,)), AdapterMix.base_only()
    before = answer(engine, bundle, base, rgb)
    assert not np.array_equal(answer(engine, bundle, night, rgb), before)
    np.testing.assert_array_equal(answer(engine, bundle, base, rgb), before)


@pytest.mark.parametrize("shape", [(1, 64, 96), (3, 64, 96), (2, 96, 160), (1, 128, 64)])
def test_one_graph_serves_any_batch_and_size(bundle, shape):
    batch, height, width = shape
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (batch, height, width, 3)).astype(np.uint8)
    session = open_session(bundle.segmentation_graph, threads=1)
    feed = images.transpose(0, 3, 1, 2).astype(np.float32)
    (got,) = session.run(["logits"], {"image": feed})
    for one, image in zip(got, images, strict=True):
        assert close(one, torch_logits(hub.segformer(), image))


def test_the_class_list_is_closed(bundle, engine):
    others = vocabulary_of(("road", "car", "sky", "sand"))
    with pytest.raises(VocabularyError, match="closed class list, the 4 classes"):
        open_text(bundle).encode(others, UNCHANGED)
    fewer = Vocabulary(hub.LABELS[:2], others.colors[:2])
    nothing = np.zeros((2, 0), np.float32)
    with pytest.raises(VocabularyError, match="expected the 4 classes"):
        engine.prepare(WeightSet(AdapterMix.base_only(), UNCHANGED, nothing, fewer))


def test_a_pipeline_drives_with_it_and_keeps_its_classes(bundle, rgb):
    config = Config(bundle=str(bundle.root), engine="onnx", adaptation="inline")
    with build_pipeline(config) as pipeline:
        with pytest.raises(VocabularyError, match="reads no text"):
            pipeline.set_vocabulary(("sand", "water"))
        assert pipeline.set_vocabulary(hub.LABELS).done() or True
        assert pipeline.vocabulary.names == hub.LABELS


def test_what_only_catseg_has_is_refused(bundle, rgb):
    with pytest.raises(EngineUnavailableError, match="a graph alone: take engine 'onnx'"):
        create_engine("torch", bundle)
    with create_engine("onnx", bundle, threads=1) as engine:
        answer(engine, bundle, AdapterMix.base_only(), rgb)
        with pytest.raises(EngineError, match="take window 'single'"):
            sliding_window(engine, rgb, crop=64)


def test_the_command_imports_and_shows(source, tmp_path, capsys, monkeypatch):
    """The export itself is left to the fixture: it takes most of a minute."""
    given = []
    monkeypatch.setattr(
        "semla_ros.prepare.bundler.importer.import_bundle",
        lambda request: given.append(request) or pytest.fail("seen"),
    )
    with pytest.raises(pytest.fail.Exception):
        main(
            [
                *("bundle", "import", "--family", "transformers", "--navigator", "none"),
                *("--checkpoint", str(source), "--size", "96x160", "--out", str(tmp_path / "b")),
            ]
        )
    assert (given[0].size, given[0].classes) == ((96, 160), None)
    with pytest.raises(SystemExit):
        main(["bundle", "import", "--size", "96", "--checkpoint", "x"])
    assert "HEIGHTxWIDTH such as 480x640" in capsys.readouterr().err


def edited(source, folder, **changes):
    """Return a copy of `source` whose config.json has these values; None removes one."""
    shutil.copytree(source, folder)
    path = folder / "config.json"
    data = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "vit"}, r"expected model_type of \('segformer', .*got 'vit'"),
        (
            {"architectures": ["SegformerForImageClassification"]},
            "expected a network for semantic segmentation, got .*trained to segment",
        ),
        ({"hidden_sizes": [8, 16, 24, 10**9]}, "expected hidden_sizes up to 1000000"),
        ({"depths": [1, 1, 1, 500]}, "expected depths up to 256, got 500"),
        ({"hidden_sizes": [8, 16, 24, 40]}, "do not fit each other|missing or of another shape"),
        ({"depths": [1, 1, 1, 2]}, "weights of a SegformerForSemanticSegmentation are missing"),
        (
            {"id2label": {str(i): f"LABEL_{i}" for i in range(4)}},
            "numbers its 4 classes and does not name them: give --classes",
        ),
    ],
)
def test_unusable_checkpoints_are_one_line(source, tmp_path, changes, message):
    folder = edited(source, tmp_path / "odd", **changes)
    with pytest.raises(SemlaError, match=message) as caught:
        import_bundle(request_for(folder, tmp_path / "out", loradb=None))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("config.json", "expected odd/config.json, found none"),
        ("preprocessor_config.json", "expected odd/preprocessor_config.json, which says how"),
        ("model.safetensors", "expected model.safetensors or pytorch_model.bin in 'odd'"),
    ],
)
def test_a_missing_file_is_named(source, tmp_path, gone, message):
    folder = edited(source, tmp_path / "odd")
    (folder / gone).unlink()
    with pytest.raises(SemlaError, match=message):
        import_bundle(request_for(folder, tmp_path / "out", loradb=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_mean": [0.5]}, "unusable image processor .*three numbers"),
        ({"image_std": [0.5, 0.0, 0.5]}, "unusable image processor .*image_std above 0"),
        ({"size": {"shortest_edge": 64}}, "give --size HEIGHTxWIDTH"),
        ({"size": {"height": 8, "width": 8}}, "expected an image of 32 to 4096 pixels"),
    ],
)
def test_unusable_processors_are_one_line(source, tmp_path, changes, message):
    folder = edited(source, tmp_path / "odd")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(SemlaError, match=message):
        import_bundle(request_for(folder, tmp_path / "out", loradb=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qkv": "apply"}, "family 'transformers' has no --qkv"),
        ({"class_pooling": 2}, "has no --class-pooling"),
        ({"classes": "road;car"}, "name the 4 classes of the checkpoint in its order, got 2"),
        ({"family": "catseg", "size": (64, 64), "classes": "a;b"}, "'catseg' has no --size"),
        ({"family": "catseg"}, "name them with --classes"),
        ({"checkpoint": "nowhere"}, "as OWNER/NAME, got 'nowhere'"),
    ],
)
def test_options_that_do_not_fit_are_refused(source, tmp_path, changes, message):
    with pytest.raises(SemlaError, match=message):
        import_bundle(request_for(source, tmp_path / "out", **{"loradb": None, **changes}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_model_name_or_path": "someone/other"}, "or one named of .*got 'someone/other'"),
        ({"modules_to_save": ["decode_head"]}, "modules_to_save"),
        ({"bias": "lora_only"}, "'bias': 'lora_only'"),
    ],
)
def test_adapters_that_do_not_fit_are_refused_by_name(source, tmp_path, change, message):
    shutil.copytree(source.parent / "loradb" / "fog", tmp_path / "loradb" / "fog")
    configure(tmp_path / "loradb" / "fog", **change)
    with pytest.raises(SemlaError, match=f"fog.*{message}"):
        import_bundle(request_for(source, tmp_path / "out", loradb=tmp_path / "loradb"))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("vit.encoder.layer.0.attention.attention.query", "cannot adapt, e.g. .'vit.encoder"),
        ("segformer.stages.0.blocks.0.attention.qkv", "cannot adapt, e.g. .*attention.qkv'"),
    ],
    ids=["another architecture", "fused q, k and v"],
)
def test_modules_that_the_network_has_not_are_refused_by_name(source, tmp_path, module, message):
    adapter = tmp_path / "loradb" / "fog"
    shutil.copytree(source.parent / "loradb" / "fog", adapter)
    rename(adapter, {NEW_NAME: module})
    with pytest.raises(SemlaError, match=message) as caught:
        import_bundle(request_for(source, tmp_path / "out", loradb=tmp_path / "loradb"))
    assert "\n" not in str(caught.value)


def test_a_layer_under_two_names_is_ambiguous(source, tmp_path):
    adapter = tmp_path / "loradb" / "fog"
    shutil.copytree(source.parent / "loradb" / "fog", adapter)
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    twice = {k.replace(NEW_NAME, OLD_NAME): v.clone() for k, v in tensors.items() if NEW_NAME in k}
    save_file({**tensors, **twice}, path)
    with pytest.raises(SemlaError, match=f"changes '{NEW_NAME}' twice, also as '{OLD_NAME}'"):
        import_bundle(request_for(source, tmp_path / "out", loradb=tmp_path / "loradb"))
