"""Changes of layers: what is trained is what merging gives, and the network is left as it came."""

import numpy as np
import pytest
import torch

from semla_ros.core.errors import TrainingError
from semla_ros.library.storage import read_adapter
from semla_ros.prepare.adapters.write import write_adapter
from semla_ros.prepare.training.compress import compressed
from semla_ros.prepare.training.hardware import CPU, Hardware
from semla_ros.prepare.training.initial import INITIALISERS, Ranks, start_of
from semla_ros.prepare.training.low_rank import adapter_of, attached
from semla_ros.prepare.training.recipe import Recipe
from semla_ros.prepare.training.trainer import RunOptions, train

RECYCLED = Recipe(
    init="rrqr",
    rank=4,
    sub_rank=1,
    alpha=4.0,
    steps=4,
    warmup=0,
    batch=4,
    learning_rate=5e-3,
    clip_norm=1.0,
    crop=0,
    evaluate_every=4,
)
ON_CPU = RunOptions(Hardware(CPU))


def _image():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255


@torch.no_grad()
def _logits(model, tokens):
    return model(_image(), model.encode_text(tokens))


@torch.no_grad()
def _merge(model, adapter):
    state = dict(model.named_parameters())
    for name, layer in adapter.layers.items():
        key = f"{name}.weight" if f"{name}.weight" in state else f"{name}_weight"
        delta = layer.scaling * (layer.lora_b.astype(np.float64) @ layer.lora_a)
        state[key] += torch.from_numpy(delta.astype(np.float32))


def _recipe(init):
    if init == "rrqr":
        return RECYCLED
    return Recipe(
        **{
            "init": init,
            "rank": 4,
            "alpha": 4.0,
            "steps": 4,
            "warmup": 0,
            "batch": 4,
            "learning_rate": 5e-3,
            "clip_norm": 1.0,
            "crop": 0,
            "evaluate_every": 4,
        }
    )


@pytest.mark.parametrize("init", INITIALISERS)
def test_step_0_is_the_base_and_the_export_is_the_trained_network(
    model, tokens, on_layers, problem, init
):
    recipe, base = _recipe(init), _logits(model, tokens)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with on_layers(recipe) as changes:
        torch.testing.assert_close(_logits(model, tokens), base, atol=1e-5, rtol=0)
        train(problem(model, changes, recipe), recipe, ON_CPU)
        trained = _logits(model, tokens)
        adapter = adapter_of(changes, name="x", base_model="b")
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert (trained - base).abs().max() > 1e-3, "something was learnt"
    _merge(model, adapter)
    torch.testing.assert_close(_logits(model, tokens), trained, atol=1e-5, rtol=0)


def test_the_export_doubles_rank_and_alpha_and_is_read_back(model, on_layers, problem, tmp_path):
    with on_layers(RECYCLED) as changes:
        train(problem(model, changes, RECYCLED), RECYCLED, ON_CPU)
        now = {name: change.layer() for name, change in changes.changes.items()}
        starts = dict(changes.starts)
        adapter = adapter_of(changes, name="x", base_model="b")
    write_adapter(tmp_path / "x", adapter, alpha=8.0)
    read = read_adapter(tmp_path / "x")
    for name, layer in read.layers.items():
        assert layer.lora_a.shape[0] == 10
        assert layer.scaling == pytest.approx(4.0 / 5)
        first, last = starts[name].stacked, now[name]
        change = last.scaling * (last.lora_b @ last.lora_a - first.b @ first.a)
        np.testing.assert_allclose(layer.scaling * layer.lora_b @ layer.lora_a, change, atol=1e-6)


def test_convex_mixes_of_siblings_are_the_fused_exports():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((24, 32), dtype=np.float32)
    start = start_of("rrqr", weight, Ranks(4, 1), alpha=4.0, rng=rng)
    first, s, mix = start.stacked, start.scaling, (0.5, 0.3, 0.2)
    shared, fused = start.residual(weight), weight
    for share in mix:
        a = first.a + 0.1 * rng.standard_normal(first.a.shape)
        b = first.b + 0.1 * rng.standard_normal(first.b.shape)
        shared = shared + share * s * b @ a
        export = np.concatenate([b, -first.b], axis=1) @ np.concatenate([a, first.a])
        fused = fused + share * s * export
    np.testing.assert_allclose(shared, fused, atol=1e-6)


def test_pairs_learn_at_their_own_rates(model, on_layers):
    with on_layers(RECYCLED) as changes:
        main, sub = changes.groups(RECYCLED)
        assert (main.rate, sub.rate) == (1.0, 0.5)
        counted = len(main.parameters) + len(sub.parameters)
        assert counted == len(changes.parameters())


def test_every_layer_learns_q_k_and_v_too(model, on_layers, problem):
    recipe = _recipe("kaiming")
    with on_layers(recipe) as changes:
        train(problem(model, changes, recipe), recipe, ON_CPU)
        for name, change in changes.changes.items():
            assert change.layer().lora_b.any(), f"{name} never received a gradient"


def test_layers_that_are_not_linear_are_refused_and_nothing_is_left_on(model):
    before = set(dict(model.named_parameters()))
    with (
        pytest.raises(TrainingError, match="linear layer 'upsample1'"),
        attached(model, ["upsample1"], lambda *_: None),
    ):
        pass
    assert set(dict(model.named_parameters())) == before
    assert all(p.requires_grad for p in model.parameters())


def test_compression_is_the_best_of_its_rank_and_says_its_error(model, on_layers, problem):
    with on_layers(RECYCLED) as changes:
        train(problem(model, changes, RECYCLED), RECYCLED, ON_CPU)
        adapter = adapter_of(changes, name="x", base_model="b")
    small = compressed(adapter, 2)
    lost = whole = 0.0
    for name, layer in adapter.layers.items():
        delta = layer.scaling * layer.lora_b.astype(np.float64) @ layer.lora_a
        own = small.adapter.layers[name]
        assert own.lora_a.shape[0] == 2
        values = np.linalg.svd(delta, compute_uv=False)
        error = np.linalg.norm(delta - own.scaling * own.lora_b @ own.lora_a)
        assert error == pytest.approx(float(np.linalg.norm(values[2:])), rel=1e-3, abs=1e-6)
        lost, whole = lost + error**2, whole + float((values**2).sum())
    assert small.error == pytest.approx((lost / whole) ** 0.5, rel=1e-3)
    assert compressed(adapter, 10).error == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(TrainingError, match="at least 1"):
        compressed(adapter, 0)
