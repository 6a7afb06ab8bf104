"""Rates and decays: RecycleLoRA's own numbers, and SemLA's schedule by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from semla_ros.prepare.training.initial import Ranks, start_of
from semla_ros.prepare.training.low_rank import LowRank
from semla_ros.prepare.training.recipe import Recipe
from semla_ros.prepare.training.schedule import Group, optimiser_of, rate_factor, set_step

DATA = Path(__file__).parent / "data"
THEIRS = Recipe(
    init="rrqr",
    rank=4,
    sub_rank=1,
    alpha=1.0,
    steps=40_000,
    warmup=0,
    schedule="poly",
    weight_decay_end=1e-5,
    learning_rate=1e-4,
)


@pytest.fixture(scope="module")
def expected():
    with np.load(DATA / "recycle_expected.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def names():
    return json.loads((DATA / "recycle_groups.json").read_text())


def _group(name, parameter):
    """The authors' rates and decays, by name. Source: design/algorithms C2."""
    rate = 0.5 if "sub" in name or name == "backbone.mask_token" else 1.0
    decays = name in (
        "backbone.mask_token",
        "decode_head.cls.weight",
        "decode_head.cls.bias",
        "decode_head.query_feat.weight",
    )
    return Group((parameter,), rate, 0.05 if decays else 0.0)


def test_rates_and_decays_are_the_authors(expected, names):
    optimiser = optimiser_of([_group(n, nn.Parameter(torch.zeros(1))) for n in names], THEIRS)
    for row, iteration in enumerate(expected["schedule.iterations"]):
        set_step(optimiser, THEIRS, int(iteration))
        rates = [g["lr"] for g in optimiser.param_groups]
        decays = [g["weight_decay"] for g in optimiser.param_groups]
        np.testing.assert_allclose(rates, expected["schedule.lr"][row], atol=1e-10)
        np.testing.assert_allclose(decays, expected["schedule.weight_decay"][row], atol=1e-8)


class _Toy(nn.Module):
    """The network of the parity case, its linear layers changed as ours are."""

    def __init__(self, expected):
        super().__init__()
        self.expected = expected
        self.changes = nn.ModuleDict()
        self.residual, self.bias = {}, {}
        for layer, weight in (("fc1", "w48x32"), ("fc2", "w32x48")):
            array = expected[f"{weight}.W0"]
            start = start_of("rrqr", array, Ranks(4, 1), alpha=1.0, rng=np.random.default_rng(0))
            self.changes[layer] = LowRank(start)
            self.residual[layer] = torch.from_numpy(start.residual(array))
            self.bias[layer] = torch.from_numpy(expected[f"toy.step0.backbone.{layer}.bias"])
        self.head = nn.ParameterDict()
        for key in expected:
            if key.startswith("toy.step0.decode_head."):
                name = key.removeprefix("toy.step0.")
                self.head[name.replace(".", "-")] = nn.Parameter(torch.from_numpy(expected[key]))

    def parameter(self, name):
        if "lora" in name:
            layer, leaf = name.split(".")[1:]
            _, side, kind = leaf.split("_")
            return getattr(self.changes[layer], side.lower())[("main", "sub").index(kind)]
        return self.head[name.replace(".", "-")]

    def forward(self, x):
        for layer in ("fc1", "fc2"):
            x = nn.functional.linear(
                x, self.changes[layer](self.residual[layer]), self.bias[layer]
            )
            x = torch.relu(x) if layer == "fc1" else x
        head = {k.removeprefix("decode_head-"): v for k, v in self.head.items()}
        x = nn.functional.layer_norm(x, (32,), head["norm-weight"], head["norm-bias"])
        x = x + head["query_embed-weight"] + head["level_embed-weight"] + head["query_feat-weight"]
        return nn.functional.linear(x, head["cls-weight"], head["cls-bias"])


def test_two_steps_of_training_are_the_authors(expected, names):
    toy = _Toy(expected)
    trained = [n for n in names if n != "backbone.mask_token"]
    optimiser = optimiser_of([_group(n, toy.parameter(n)) for n in trained], THEIRS)
    x, target = (torch.from_numpy(expected[f"toy.{k}"]) for k in ("input", "target"))
    np.testing.assert_allclose(toy(x).detach(), expected["toy.output0"], atol=2e-6)
    for name in trained:  # their start to the last bit, so that only the steps are compared
        toy.parameter(name).data.copy_(torch.from_numpy(expected[f"toy.step0.{name}"]))
    for step in range(2):
        set_step(optimiser, THEIRS, step)
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(toy(x), target)
        assert float(loss.detach()) == pytest.approx(float(expected[f"toy.loss{step}"]), abs=2e-6)
        loss.backward()
        tiny = {n: toy.parameter(n).grad.abs() < 1e-6 for n in trained}
        optimiser.step()
        for name in trained:
            theirs = torch.from_numpy(expected[f"toy.step{step + 1}.{name}"])
            difference = (toy.parameter(name).detach() - theirs).abs()
            assert difference[~tiny[name]].max() < 1e-7, name


def test_warm_up_then_cosine():
    recipe = Recipe(steps=100, warmup=10, warmup_factor=0.01)
    assert rate_factor(recipe, 0) == pytest.approx(0.01)
    assert rate_factor(recipe, 5) == pytest.approx(0.505 * 0.5 * (1 + np.cos(np.pi * 0.05)))
    assert rate_factor(recipe, 50) == pytest.approx(0.5)
    assert rate_factor(replace(recipe, schedule="poly", warmup=0), 99) == 0.0
