"""The stacked merge of torch equals the one in numpy, layer by layer."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

from semla_ros.bundle import GraphWeight  # noqa: E402
from semla_ros.bundle.base_weights import BaseWeights  # noqa: E402
from semla_ros.core.errors import AdapterError  # noqa: E402
from semla_ros.core.types import AdapterMix, LoraAdapter, LoraLayer  # noqa: E402
from semla_ros.core.weights import ArrayWeights, array_of  # noqa: E402
from semla_ros.engine.torch_fusion import TorchBank  # noqa: E402
from semla_ros.library.fusion import MergedWeights  # noqa: E402

SHAPES = {"a": (24, 8), "b": (24, 8), "c": (8, 24), "d": (8, 24), "e": (16, 16)}
LAYERS = {
    name: GraphWeight(name, name, "segmentation", name, name in "abe", shape)
    for name, shape in SHAPES.items()
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def adapter(name, seed, touched, *, rank=3):
    rng = np.random.default_rng(seed)
    return LoraAdapter(
        name,
        {
            layer: LoraLayer(
                rng.normal(0, 0.3, (rank, SHAPES[layer][1])).astype(np.float32),
                rng.normal(0, 0.3, (SHAPES[layer][0], rank)).astype(np.float32),
                2.0,
            )
            for layer in touched
        },
    )


ADAPTERS = [adapter("fog", 1, "abcd"), adapter("rain", 2, "ac", rank=7), adapter("snow", 3, "e")]


@pytest.fixture(params=DEVICES)
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    return request.param


@pytest.fixture
def base():
    rng = np.random.default_rng(0)
    return BaseWeights(
        {n: rng.standard_normal(s).astype(np.float32) for n, s in SHAPES.items()},
        transposed={n for n, layer in LAYERS.items() if layer.transposed},
    )


@pytest.fixture
def bank(base, device):
    return TorchBank(LAYERS, base, device=device)


def merged(base, /, **shares):
    return MergedWeights(base, ADAPTERS, AdapterMix.from_weights(shares))


def content(bank, slot):
    return {
        name: (view.T if LAYERS[name].transposed else view).cpu().numpy().copy()
        for name, view in bank.views(slot).items()
    }


@pytest.mark.parametrize(
    "shares",
    [{"fog": 1.0}, {"fog": 0.5, "rain": 0.5}, {"fog": 0.2, "rain": 0.3, "snow": 0.5}, {"base": 1}],
    ids=str,
)
def test_every_layer_is_that_of_numpy(bank, base, shares):
    slot, weights = bank.slot(), merged(base, **shares)
    bank.fill(merged(base, snow=1.0), slot)
    bank.fill(weights, slot)
    for name, got in content(bank, slot).items():
        expected = array_of(weights, name) if name in weights.names else base.get(name)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
        if name not in weights.names:
            np.testing.assert_array_equal(got, expected)


def test_there_and_back_is_bit_identical(bank, base):
    slot = bank.slot()
    bank.fill(merged(base, fog=0.6, rain=0.4), slot)
    first = content(bank, slot)
    for shares in ({"snow": 1.0}, {"base": 1.0}, {"rain": 1.0}, {"fog": 0.6, "rain": 0.4}):
        bank.fill(merged(base, **shares), slot)
    for name, got in content(bank, slot).items():
        np.testing.assert_array_equal(got, first[name])


def test_plain_arrays_are_copied(bank, base):
    slot = bank.slot()
    bank.fill(merged(base, fog=1.0), slot)
    weights = {"a": np.ones(SHAPES["a"], np.float32), "d": np.full(SHAPES["d"], 2, np.float32)}
    bank.fill(ArrayWeights(weights), slot)
    for name, got in content(bank, slot).items():
        np.testing.assert_array_equal(got, weights.get(name, base.get(name)))


def test_what_might_not_be_finite_is_refused(bank, base):
    spoilt = adapter("fog", 1, "a")
    spoilt.layers["a"].lora_b[0, 0] = np.inf
    weights = MergedWeights(base, [spoilt], AdapterMix(("fog",), (1.0,)))
    with pytest.raises(AdapterError, match="finite change"):
        bank.fill(weights, bank.slot())
