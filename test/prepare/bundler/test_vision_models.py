"""Encoders of timm and torchvision as navigators, by name; random weights, no downloads."""

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
for package in ("timm", "torchvision"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}: scripts/setup --dev", allow_module_level=True)

from safetensors.torch import save_file  # noqa: E402

from semla_ros.core.errors import SemlaError, TrainingError  # noqa: E402
from semla_ros.prepare.bundler.channel_statistics import with_features  # noqa: E402
from semla_ros.prepare.bundler.navigator_import import (  # noqa: E402
    NavigatorRequest,
    load_navigator,
    requested,
)
from semla_ros.prepare.bundler.vision_models import import_vision  # noqa: E402

TIMM, TORCHVISION = "timm:test_resnet.r160_in1k", "torchvision:mobilenet_v3_small"


def network(name):
    kind, _, model = name.partition(":")
    torch.manual_seed(0)
    package = import_vision(kind, name)
    made = package.create_model(model) if kind == "timm" else package.models.get_model(model)
    return made.eval()


@pytest.fixture(scope="module", params=[TIMM, TORCHVISION])
def named(request, tmp_path_factory):
    """A name, its whole network with a classifier, and the file of its weights."""
    whole = network(request.param)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file({k: v.contiguous() for k, v in whole.state_dict().items()}, path)
    return request.param, whole, path


def last_linear(whole):
    return [m for m in whole.modules() if isinstance(m, torch.nn.Linear)][-1]


@torch.no_grad()
def test_the_embedding_is_what_the_classifier_reads(named):
    name, whole, path = named
    parts = load_navigator(name, path)
    image = torch.randn(1, 3, *parts.spec.shape, generator=torch.Generator().manual_seed(1))
    read = []
    hook = last_linear(whole).register_forward_pre_hook(lambda _, given: read.append(given[0]))
    whole(image)
    hook.remove()
    torch.testing.assert_close(parts.encoder(image), read[0])
    assert parts.spec.dim == read[0].shape[1]


def test_preprocessing_is_the_models_own(named):
    name, _, path = named
    spec = load_navigator(name, path).spec
    expected = (160, "center_crop") if name == TIMM else (224, "eval_crop")
    assert (spec.size, spec.resize) == expected
    mean = (0.5, 0.5, 0.5) if name == TIMM else (0.485, 0.456, 0.406)
    np.testing.assert_allclose(spec.mean, mean)


def test_the_identity_follows_weights_and_resize(named, tmp_path):
    name, whole, path = named
    identity = load_navigator(name, path).spec.identity
    assert identity.startswith(name.replace(":", "/") + ":")
    assert load_navigator(name, path, resize="letterbox").spec.identity == f"{identity}+letterbox"
    state = {k: v.clone() for k, v in whole.state_dict().items()}
    first = next(key for key, tensor in state.items() if tensor.is_floating_point())
    state[first] += 1
    save_file(state, tmp_path / "tuned.safetensors")
    assert load_navigator(name, tmp_path / "tuned.safetensors").spec.identity != identity


def test_statistics_of_it_are_few_and_its_own(named):
    name, _, path = named
    parts = with_features(load_navigator(name, path), "statistics")
    assert parts.spec.identity.endswith("+statistics")
    assert 16 <= parts.spec.dim <= 1024


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet18x", "expected one of .* models, got 'resnet18x': did you mean"),
        ("torchvision:resnet18x", "expected one of .* models, got 'resnet18x': did you mean"),
        ("torchvision:squeezenet1_0", "expected a classifier that ends in a linear layer"),
    ],
)
def test_unknown_and_unfit_names_are_one_line(name, message, tmp_path):
    with pytest.raises(TrainingError, match=message) as caught:
        load_navigator(name, tmp_path / "absent")
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_refused(named, tmp_path):
    name, whole, _ = named
    state = dict(list(whole.state_dict().items())[3:])
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "less.safetensors")
    with pytest.raises(TrainingError, match="are of another model: 3 of"):
        load_navigator(name, tmp_path / "less.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "segmenter", "features": "both"}, "'segmenter' has no use for --navigator-feat"),
        ({"name": "none", "resize": "squash"}, "'none' has no use for --navigator-resize"),
        ({"name": TIMM, "features": "best"}, "navigator features of .*'both'.*, got 'best'"),
    ],
)
def test_options_that_do_nothing_are_refused(changes, message):
    with pytest.raises(SemlaError, match=message):
        NavigatorRequest(**changes)


def test_the_segmenter_and_none_are_no_encoders():
    assert requested(NavigatorRequest("segmenter")) == "segmenter"
    assert requested(NavigatorRequest("none")) is None
