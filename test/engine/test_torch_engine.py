"""The torch engine's precisions on the CPU, and its CUDA graphs where there is a GPU."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")

from semla_ros.engine import EngineOptions  # noqa: E402
from semla_ros.engine.golden import BOUNDS, golden_case, relative_error  # noqa: E402
from semla_ros.engine.torch_engine import TorchEngine  # noqa: E402


def opened(bundle, **options):
    return TorchEngine(bundle, options=EngineOptions(threads=1, **options))


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def logits_of(engine, weight_set, image):
    serve(engine, weight_set)
    return engine.logits(image)


@pytest.fixture(scope="module")
def golden(network_bundle):
    with opened(network_bundle) as engine:
        weight_set, image = golden_case(network_bundle, feature_dim=engine.facts.feature_dim)
        return weight_set, image, logits_of(engine, weight_set, image)


def test_the_cpu_and_float32_unless_asked_otherwise(network_bundle):
    with opened(network_bundle) as engine:
        assert (engine.facts.device, engine.facts.precision) == ("cpu", "f32")


def test_bfloat16_is_near_float32_and_not_equal(network_bundle, golden):
    weight_set, image, expected = golden
    with opened(network_bundle, precision="bf16") as engine:
        assert engine.facts.precision == "bf16"
        got = logits_of(engine, weight_set, image)
        assert got.dtype == np.float32
        assert 1e-6 < relative_error(got, expected) <= BOUNDS["bf16"]


def test_slots_keep_their_tensors(network_bundle, make_torch_set):
    """A CUDA graph reads the addresses it was captured with."""
    with opened(network_bundle) as engine:
        for seed in (1, 2):
            serve(engine, make_torch_set(engine, seed))
        before = [{n: t.data_ptr() for n, t in slot.weights.items()} for slot in engine._slots]
        for seed in (3, 4, 5):
            serve(engine, make_torch_set(engine, seed))
        after = [{n: t.data_ptr() for n, t in slot.weights.items()} for slot in engine._slots]
        assert before == after


@pytest.fixture
def make_torch_set():
    from semla_ros.core.types import AdapterMix, Vocabulary
    from semla_ros.core.weights import ArrayWeights, WeightSet

    def make(engine, seed, classes=4):
        rng = np.random.default_rng(seed)
        weights = {
            name: rng.normal(0, layer.shape[1] ** -0.5, layer.shape).astype(np.float32)
            for name, layer in engine.facts.layers.items()
        }
        text = rng.normal(size=(classes, engine.facts.feature_dim)).astype(np.float32)
        names = Vocabulary(
            tuple(f"c{i}" for i in range(classes)), np.zeros((classes, 3), np.uint8)
        )
        return WeightSet(AdapterMix((f"a{seed}",), (1.0,)), ArrayWeights(weights), text, names)

    return make


needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs an NVIDIA GPU that PyTorch can use"
)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    ("precision", "resolved"), [("auto", "f16"), ("f32", "f32"), ("bf16", "bf16")]
)
def test_a_gpu_answers_like_the_cpu(network_bundle, golden, precision, resolved):
    weight_set, image, expected = golden
    with opened(network_bundle, device="cuda", precision=precision) as engine:
        assert (engine.facts.device, engine.facts.precision) == ("cuda", resolved)
        assert relative_error(logits_of(engine, weight_set, image), expected) <= BOUNDS[resolved]


@pytest.mark.gpu
@needs_gpu
def test_a_swap_replays_the_graph_that_is_there(network_bundle, make_torch_set):
    with opened(network_bundle, device="cuda") as engine:
        for seed in (1, 2):
            serve(engine, make_torch_set(engine, seed))
        graphs = [slot.graph for slot in engine._slots]
        for seed in (3, 4):
            serve(engine, make_torch_set(engine, seed))
        assert [slot.graph for slot in engine._slots] == graphs
        for seed in (5, 6):
            serve(engine, make_torch_set(engine, seed, classes=7))
        assert all(slot.graph not in graphs for slot in engine._slots), (
            "other classes: captured anew"
        )


@pytest.mark.gpu
@needs_gpu
def test_swaps_do_not_grow_the_memory_of_the_gpu(network_bundle, make_torch_set):
    with opened(network_bundle, device="cuda") as engine:
        sets = [make_torch_set(engine, seed) for seed in (1, 2)]
        image = np.zeros((64, 64, 3), np.uint8)

        def swap(count):
            for number in range(count):
                serve(engine, sets[number % 2])
                engine.infer(image)

        swap(20)
        before = torch.cuda.memory_allocated()
        swap(200)
        assert torch.cuda.memory_allocated() - before < 2**20
