"""Networks of transformers are trained as CAT-Seg is, and serve what was trained."""

import importlib.util
import shutil
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

for package in ("transformers", "peft"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}: scripts/setup --dev", allow_module_level=True)

from prepare.bundler import hub  # noqa: E402

from semla_ros.bundle import SCORES, ModelBundle, open_bundle  # noqa: E402
from semla_ros.bundle.onnx_session import open_session  # noqa: E402
from semla_ros.core.errors import TrainingError  # noqa: E402
from semla_ros.library.library import AdapterLibrary  # noqa: E402
from semla_ros.library.storage import read_whole_adapter  # noqa: E402
from semla_ros.prepare.bundler.clip import mend_torchvision  # noqa: E402
from semla_ros.prepare.bundler.transformers.heads import KINDS, Pixels, Segmenter  # noqa: E402
from semla_ros.prepare.bundler.transformers.hub_bundle import HubParts  # noqa: E402
from semla_ros.prepare.bundler.transformers.importer import (  # noqa: E402
    HubRequest,
    import_hub_bundle,
)
from semla_ros.prepare.bundler.transformers.layers import adaptable_layers  # noqa: E402
from semla_ros.prepare.curation.verify import verify_library  # noqa: E402
from semla_ros.prepare.training.adapter import train_adapter  # noqa: E402
from semla_ros.prepare.training.base import BaseRequest, train_base  # noqa: E402
from semla_ros.prepare.training.ground import habits_of  # noqa: E402
from semla_ros.prepare.training.hardware import CPU, Hardware  # noqa: E402
from semla_ros.prepare.training.initial import start_of  # noqa: E402
from semla_ros.prepare.training.low_rank import adapter_of, attached  # noqa: E402
from semla_ros.prepare.training.networks import HubNetwork, trained_network  # noqa: E402
from semla_ros.prepare.training.objective import Objective  # noqa: E402
from semla_ros.prepare.training.recipe import OFFICIAL, Recipe  # noqa: E402
from semla_ros.prepare.training.steps import Problem  # noqa: E402
from semla_ros.prepare.training.trainer import RunOptions, train  # noqa: E402


def imported(made_bundle, folder, **changes):
    hub.save(hub.segformer(), folder / "segformer-tiny")
    defaults = made_bundle.manifest.defaults
    request = HubRequest(str(folder / "segformer-tiny"), folder / "bundle", defaults, **changes)
    return import_hub_bundle(request)[0]


@pytest.fixture(scope="session")
def made_hub(made_bundle, tmp_path_factory):
    return imported(made_bundle, tmp_path_factory.mktemp("hub"), navigator=made_bundle)


@pytest.fixture
def bundle(made_hub, tmp_path):
    """A SegFormer of classes road, car, sky, tree, with no adapter, to do anything with."""
    shutil.copytree(made_hub.root, tmp_path / "segformer")
    return open_bundle(tmp_path / "segformer", verify=False)


@pytest.fixture
def image():
    return torch.rand(1, 3, *hub.SIZE, generator=torch.Generator().manual_seed(0)) * 255


def test_an_adapter_is_trained_and_peft_reads_the_same(bundle, request_of, recipe):
    done = train_adapter(request_of(how=how(recipe, learning_rate=2e-2)), str)
    assert all(layer.lora_b.any() for layer in done.adapter.layers.values())
    assert set(done.adapter.layers) == {layer.name for layer in bundle.manifest.layers}
    base, own = (done.judgement.counts[what] for what in ("base", "adapter"))
    assert not np.array_equal(base, own)
    library = AdapterLibrary.of(open_bundle(bundle.root))
    assert (library.names, library.problems) == (("dusk",), {})
    assert verify_library(bundle.root).passed
    assert "for CAT-Seg" not in (done.folder / "README.md").read_text()
    mend_torchvision()
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = PeftModel.from_pretrained(trained_network(bundle).model, str(done.folder))
    modules = dict(opened.base_model.model.named_modules())
    for name, ours in read_whole_adapter(done.folder).layers.items():
        theirs = modules[name].get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(theirs, ours.scaling * ours.lora_b @ ours.lora_a, atol=1e-6)


def how(recipe, **changes):
    from semla_ros.prepare.training.run import How

    return How("test", replace(recipe, **changes), Hardware(CPU), threads=1)


def test_nothing_is_left_to_chance(bundle, request_of):
    """Its decoder has dropout, and what torch's generator says differs from run to run."""
    assert trained_network(bundle).model.decode_head.dropout.p > 0
    first = train_adapter(request_of(), str).adapter
    torch.rand(7)
    second = train_adapter(request_of(replace=True), str).adapter
    for name, layer in first.layers.items():
        assert layer.lora_b.tobytes() == second.layers[name].lora_b.tobytes()


def test_a_base_becomes_a_bundle_that_answers_as_it_was_trained(
    bundle, request_of, recipe, tmp_path, image
):
    train_adapter(request_of(), str)
    out, asked = tmp_path / "mine", request_of()
    done = train_base(BaseRequest(bundle.root, out, asked.data, how(recipe)), str)
    made = open_bundle(out)
    assert made.manifest.base_model != bundle.manifest.base_model
    assert made.manifest.layers == bundle.manifest.layers
    assert made.manifest.navigator == bundle.manifest.navigator
    assert (made.manifest.base_names, list(made.library.iterdir())) == (("mine",), [])
    assert not np.array_equal(*(next(iter(x.counts.values())) for x in (done.before, done.after)))
    shutil.copytree(bundle.library / "dusk", made.library / "dusk")
    assert "base" in AdapterLibrary.of(made).problems["dusk"]
    with torch.no_grad():
        expected = trained_network(made)(image, torch.zeros(0, 0)).numpy()
    (got,) = open_session(made.segmentation_graph, threads=1).run(None, {"image": image.numpy()})
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


def unexported(kind, network, vocabulary, defaults, size=hub.SIZE):
    return HubNetwork(
        HubParts(
            name="tiny",
            model_type=kind,
            segmenter=Segmenter(network, KINDS[kind], Pixels(rescale=1 / 255)),
            state={},
            folder=Path(),
            layers=(),
            size=size,
            vocabulary=vocabulary,
            defaults=defaults,
        )
    )


@contextmanager
def trained_on(network, layers, recipe, images):
    """Put changes on `layers`, yield them, train when asked to, take them off again."""
    rng, nothing = np.random.default_rng(0), torch.zeros(0, 0)

    def start(_, weight):
        return start_of(recipe.init, weight, recipe.ranks, alpha=recipe.alpha, rng=rng)

    with attached(network.model, layers, start) as changes:
        problem = Problem(
            Objective(network, changes=changes.changes.values()),
            changes.parameters(),
            changes.groups(recipe),
            images,
            (),
            lambda _: nothing,
            nothing,
        )
        yield changes, lambda: train(problem, recipe, RunOptions(Hardware(CPU)))


SHORT = Recipe(rank=2, alpha=2, steps=3, batch=2, warmup=0, learning_rate=1e-2, crop=0)


@pytest.mark.parametrize("init", ["kaiming", "rrqr"])
def test_convolutions_are_trained_as_they_are_merged(made_bundle, halves, image, init):
    manifest, nothing = made_bundle.manifest, torch.zeros(0, 0)
    network = unexported("segformer", hub.segformer(), manifest.vocabulary, manifest.defaults)
    layers = ["decode_head.classifier", "decode_head.linear_fuse"]
    base = network(image, nothing).detach()
    with trained_on(network, layers, replace(SHORT, init=init), halves) as (changes, run):
        torch.testing.assert_close(network(image, nothing), base, atol=1e-4, rtol=0)
        run()
        trained = network(image, nothing).detach()
        adapter = adapter_of(changes, name="x", base_model="b")
    torch.testing.assert_close(network(image, nothing), base, atol=1e-6, rtol=0)
    with torch.no_grad():
        for name, layer in adapter.layers.items():
            weight = network.model.get_parameter(f"{name}.weight")
            delta = layer.scaling * torch.from_numpy(layer.lora_b @ layer.lora_a)
            weight += delta.view_as(weight)
    assert (trained - base).abs().max() > 1e-3
    torch.testing.assert_close(network(image, nothing), trained, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [kind for kind in hub.KINDS if kind in ("upernet", "dpt")])
def test_other_networks_with_a_softmax_are_trained_too(made_bundle, halves, kind):
    manifest, (model, _) = made_bundle.manifest, hub.KINDS[kind]()
    network = unexported(kind, model, manifest.vocabulary, manifest.defaults, size=(64, 64))
    layers = [layer.name for layer in adaptable_layers(model)]
    with trained_on(network, layers, SHORT, halves) as (changes, run):
        run()
        for name, change in changes.changes.items():
            assert change.layer().lora_b.any(), f"{name} never received a gradient"


def test_what_cannot_be_trained_is_refused_in_one_line(bundle):
    manifest = bundle.manifest
    scores = replace(manifest, segmentation=replace(manifest.segmentation, activation=SCORES))
    with pytest.raises(TrainingError, match="matching masks to queries; train adapters with PEFT"):
        trained_network(ModelBundle(bundle.root, scores))
    with pytest.raises(
        TrainingError, match=r"no habits .* 'transformers', got .*: they are those"
    ):
        trained_network(bundle, habits=habits_of(bundle, Recipe(official=OFFICIAL)))
    bundle.weights.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(TrainingError, match=r"weights.safetensors does not fit .*bundle import"):
        trained_network(bundle)
    shutil.rmtree(bundle.root / "checkpoint")
    with pytest.raises(TrainingError, match=r"expected checkpoint/config.json, .*bundle import"):
        trained_network(bundle)
