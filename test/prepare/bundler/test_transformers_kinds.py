"""Every kind of network of transformers: mask as the library makes it, adapters as PEFT merges."""

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
for package in ("transformers", "peft", "openvino"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}: scripts/setup --dev", allow_module_level=True)

from prepare.bundler import hub  # noqa: E402

from semla_ros.bundle import open_bundle  # noqa: E402
from semla_ros.bundle.base_weights import BaseWeights  # noqa: E402
from semla_ros.core.errors import TrainingError  # noqa: E402
from semla_ros.core.types import AdapterMix  # noqa: E402
from semla_ros.core.weights import UNCHANGED, WeightSet  # noqa: E402
from semla_ros.engine import create_engine  # noqa: E402
from semla_ros.engine.closed_text import open_text  # noqa: E402
from semla_ros.library.fusion import MergedWeights  # noqa: E402
from semla_ros.library.library import AdapterLibrary  # noqa: E402
from semla_ros.prepare.bundler.importer import ImportRequest, import_bundle  # noqa: E402
from semla_ros.prepare.bundler.navigator_import import NavigatorRequest  # noqa: E402
from semla_ros.prepare.bundler.transformers.checkpoint import import_transformers  # noqa: E402
from semla_ros.prepare.bundler.transformers.heads import make_exportable  # noqa: E402

FOG = AdapterMix(("fog",), (1.0,))


@pytest.fixture(scope="module", params=hub.KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def source(kind, tmp_path_factory):
    network, processor = hub.KINDS[kind]()
    folder = hub.save(network, tmp_path_factory.mktemp(kind) / kind, processor=processor)
    wrapped = adapted(network)
    hub.save_adapter(wrapped, folder.parent / "loradb" / "fog")
    return folder


@pytest.fixture(scope="module")
def bundle(source):
    loradb, out, none = source.parent / "loradb", source.parent / "b", NavigatorRequest("none")
    request = ImportRequest(source, loradb, None, none, out, family="transformers")
    return open_bundle(import_bundle(request).bundle.root)


@pytest.fixture(scope="module")
def rgb(bundle):
    height, width = bundle.manifest.segmentation.shape
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.repeat(np.repeat(coarse, 8, 0), 8, 1)


def adapted(network):
    """Wrap as PEFT's "all-linear" does, but for what it would never execute.

    torch's fused attention reads the weight of `out_proj` past PEFT's module.
    """
    unused = r".*\.cross_attn\.out_proj"
    return hub.adapted(network, "all-linear", seed=1, strength=0.05, exclude_modules=unused)


def librarys_mask(network, source, rgb):
    """Return the labels that transformers makes of an image of the network's own size."""
    processor = import_transformers().AutoImageProcessor.from_pretrained(source)
    given = processor(rgb, return_tensors="pt", do_resize=False)
    with torch.inference_mode():
        found = network(pixel_values=given["pixel_values"])
    (mask,) = processor.post_process_semantic_segmentation(found, target_sizes=[rgb.shape[:2]])
    return mask.numpy()


@pytest.mark.parametrize("name", ["onnx", "openvino"])
@pytest.mark.parametrize("adapter", ["", "fog"])
def test_masks_are_the_librarys_own(kind, bundle, source, rgb, name, adapter):
    network, _ = hub.KINDS[kind]()
    mix = FOG if adapter else AdapterMix.base_only()
    if adapter:
        network = adapted(network).merge_and_unload()
    library = AdapterLibrary.of(bundle)
    adapters = [library.get(adapter)] if adapter else []
    weights = MergedWeights(BaseWeights.open(bundle), adapters, mix)
    vocabulary = bundle.manifest.vocabulary
    features = open_text(bundle).encode(vocabulary, UNCHANGED)
    with create_engine(name, bundle, threads=1, precision="f32") as engine:
        engine.prepare(WeightSet(mix, weights, features, vocabulary))
        engine.commit()
        got = engine.infer(rgb).labels
    expected = librarys_mask(network, source, rgb)
    assert (got == expected).mean() >= 0.999
    assert len(np.unique(expected)) > 1  # random weights, and still more than one class


def test_masks_that_attend_by_chance_are_refused():
    network, _ = hub.eomt()
    network.attn_mask_probs.fill_(0.5)
    with pytest.raises(TrainingError, match=r"expected attn_mask_probs of 0 or 1, got .*0\.5"):
        make_exportable(network)
