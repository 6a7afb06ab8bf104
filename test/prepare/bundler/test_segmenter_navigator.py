"""The segmentation graph as the navigator: one pass gives mask and embedding, adapters or not."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

for package in ("torch", "onnx"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}: scripts/setup --dev", allow_module_level=True)

from fakes import tiny_bundle  # noqa: E402
from prepare.bundler import hub  # noqa: E402

from semla_ros.bench.domains import with_navigator  # noqa: E402
from semla_ros.bundle.base_weights import BaseWeights  # noqa: E402
from semla_ros.core.config import Config  # noqa: E402
from semla_ros.core.errors import BundleError, EngineUnavailableError  # noqa: E402
from semla_ros.core.types import AdapterMix, Frame  # noqa: E402
from semla_ros.core.weights import ArrayWeights, WeightSet  # noqa: E402
from semla_ros.engine import create_engine  # noqa: E402
from semla_ros.engine.closed_text import open_text  # noqa: E402
from semla_ros.library.statistics import DomainStatistics  # noqa: E402
from semla_ros.navigator.encoder import OnnxImageEncoder  # noqa: E402
from semla_ros.pipeline import build_pipeline  # noqa: E402
from semla_ros.prepare.adapters.write import write_statistics  # noqa: E402
from semla_ros.prepare.bundler.importer import ImportRequest, import_bundle  # noqa: E402
from semla_ros.prepare.bundler.navigator_import import NavigatorRequest  # noqa: E402
from semla_ros.prepare.bundler.navigator_parts import SEGMENTER  # noqa: E402


@pytest.fixture(scope="module")
def catseg(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catseg")
    return with_navigator(tiny_bundle(folder / "plain"), SEGMENTER, folder / "shared")


@pytest.fixture(scope="module")
def segformer(tmp_path_factory):
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("needs transformers: scripts/setup --dev")
    folder = tmp_path_factory.mktemp("segformer")
    hub.save(hub.segformer(), folder / "checkpoint")
    request = ImportRequest(
        folder / "checkpoint",
        None,
        None,
        NavigatorRequest("segmenter"),
        folder / "bundle",
        family="transformers",
    )
    return import_bundle(request).bundle


@pytest.fixture(scope="module", params=["catseg", "segformer"])
def bundle(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def engine(request, bundle):
    try:
        opened = create_engine(request.param, bundle, threads=1, precision="f32")
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


def picture(seed, shape=(50, 70)):
    coarse = np.random.default_rng(seed).integers(0, 256, (shape[0] // 5, shape[1] // 5, 3))
    return np.repeat(np.repeat(coarse, 5, 0), 5, 1).astype(np.uint8)


def serve(engine, bundle, factor):
    """Let every adaptable weight of the image side be `factor` times its own."""
    base = BaseWeights.open(bundle)
    changed = {name: base.get(name) * np.float32(factor) for name in engine.facts.layers}
    vocabulary = bundle.manifest.vocabulary
    features = open_text(bundle).encode(vocabulary, ArrayWeights({}))
    mix = AdapterMix((f"x{factor}",), (1.0,))
    engine.prepare(WeightSet(mix, ArrayWeights(changed), features, vocabulary))
    engine.commit()


def test_the_frames_pass_gives_what_the_small_graph_gives(bundle, engine):
    encoder = OnnxImageEncoder(bundle, threads=1)
    serve(engine, bundle, 1.0)
    for seed in range(3):
        seen = engine.infer(picture(seed)).embedding
        assert seen.shape == (encoder.dim,)
        np.testing.assert_allclose(seen, encoder.encode(picture(seed)), atol=2e-3)


def test_no_adapter_can_move_it(bundle, engine):
    found = []
    for factor in (1.0, 0.5, -2.0):
        serve(engine, bundle, factor)
        found.append(engine.infer(picture(1)))
    np.testing.assert_array_equal(found[0].embedding, found[1].embedding)
    np.testing.assert_array_equal(found[0].embedding, found[2].embedding)
    assert not np.array_equal(found[0].confidence, found[2].confidence)


def test_an_answer_is_the_callers_to_keep(bundle, engine):
    serve(engine, bundle, 1.0)
    first = engine.infer(picture(1)).embedding
    kept = first.copy()
    assert not np.array_equal(engine.infer(picture(2)).embedding, kept)
    np.testing.assert_array_equal(first, kept)


def test_the_manifest_says_so_and_whose_it_is(bundle):
    spec, manifest = bundle.manifest.navigator, bundle.manifest
    height, width = manifest.segmentation.shape
    assert (spec.shape, spec.resize, spec.shared) == ((height, width), "squash", True)
    whose = f"segmenter/{manifest.base_model}@{height}x{width}+statistics:"
    assert spec.identity.startswith(whose)
    assert manifest.shared_dim == spec.dim


def test_a_graph_without_the_output_is_refused(bundle, tmp_path):
    without = replace(bundle.manifest, navigator=replace(bundle.manifest.navigator, shared=False))
    with create_engine("onnx", replace(bundle, manifest=without), threads=1) as engine:
        serve(engine, bundle, 1.0)
        assert engine.infer(picture(1)).embedding is None
    plain = tiny_bundle(tmp_path / "plain")
    claimed = replace(plain.manifest, navigator=replace(plain.manifest.navigator, shared=True))
    with pytest.raises(BundleError, match="expected an output 'embedding'"):
        create_engine("onnx", replace(plain, manifest=claimed), threads=1)


def test_the_pipeline_runs_no_second_network(catseg, monkeypatch):
    encoder = OnnxImageEncoder(catseg, threads=1)
    for number, name in enumerate(("fog", "night")):
        centroid = encoder.encode(picture(number))
        statistics = DomainStatistics(centroid=centroid, count=10, encoder=encoder.identity)
        write_statistics(catseg.library / name, name, statistics)
    expected = encoder.encode(picture(1))
    config = Config(
        bundle=str(catseg.root), engine="onnx", adaptation="background", navigator_rate_hz=0.0
    )
    with build_pipeline(config) as pipeline:
        monkeypatch.setattr(
            OnnxImageEncoder, "encode_batch", lambda *_: pytest.fail("a second network ran")
        )
        made = [pipeline.step(Frame(n * 10**8, "camera", picture(1))) for n in range(1, 4)]
    assert made[-1].estimate is not None
    np.testing.assert_allclose(made[-1].estimate.raw_embedding, expected, atol=2e-3)
    assert made[-1].support.nearest == "night"
    # What is judged is the frame before: its own pass is over, nobody had to wait for it.
    assert made[-1].support.observed_ns == 2 * 10**8
