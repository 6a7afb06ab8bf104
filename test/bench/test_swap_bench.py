"""Every way to swap gives the same logits; only then is comparing their times fair."""

import importlib.util
import math

import pytest

from semla_ros.bench.candidates import Material
from semla_ros.bench.swap_bench import CANDIDATES, run_swap_bench
from semla_ros.bench.swap_record import swap_record
from semla_ros.bench.swap_run import SwapRequest
from semla_ros.errors import ConfigError, EvaluationError
from semla_ros.library.storage import read_adapter

FLOAT32 = ("semla-onnx", "semla-torch", "peft-cat", "peft-merge", "onnx-anew")


@pytest.fixture(scope="module")
def material(tiny):
    names = sorted(p.name for p in tiny.library.iterdir())
    return Material(tiny, {n: read_adapter(tiny.library / n, name=n) for n in names}, threads=1)


@pytest.fixture(scope="module")
def frames():
    from numpy.random import default_rng

    rng = default_rng(0)
    return [rng.integers(0, 256, (48, 64, 3)).astype("uint8") for _ in range(2)]


@pytest.mark.filterwarnings("ignore")  # other people's libraries deprecate each other
def test_the_ways_agree_and_are_all_measured(material, frames):
    keys = [k for k in FLOAT32 if "peft" not in k or importlib.util.find_spec("peft")]
    bench = run_swap_bench(material, frames, rounds=1, count=4, keys=keys)
    assert not bench.skipped
    for key, each in bench.measures.items():
        assert each.difference < 1e-4, key
        assert len(each.ready_ms) == len(bench.mixes)
        assert len(each.quiet_ms) == 4
        assert each.during_ms
        assert not math.isnan(each.held_mib)
    record = swap_record(bench, title="t", rounds=1, count=4, command="c")
    assert [row["equal"] for row in record.rows] == [True] * len(keys)
    assert record.rows[0]["processor_over_first"] == 1.0


def test_one_at_a_time_is_measured_alike(material, frames):
    keys = ("semla-onnx", "onnx-anew")
    bench = run_swap_bench(material, frames, rounds=2, count=2, keys=keys, together=False)
    for each in bench.measures.values():
        assert len(each.ready_ms) == len(each.ready_cpu_ms) == 2 * len(bench.mixes)
        assert len(each.quiet_ms) == 4
        assert each.difference < 1e-4


def test_a_way_that_is_not_available_is_left_out_with_its_reason(material, frames, monkeypatch):
    def refuse(_):
        raise EvaluationError("no such runtime")

    monkeypatch.setattr(
        "semla_ros.bench.swap_bench.CANDIDATES", {**CANDIDATES, "openvino-anew": refuse}
    )
    keys = ("semla-onnx", "openvino-anew")
    bench = run_swap_bench(material, frames, rounds=1, count=2, keys=keys)
    assert bench.skipped == {"openvino-anew": "no such runtime"}
    notes = swap_record(bench, title="t", rounds=1, count=2, command="c").notes
    assert "openvino-anew was left out: no such runtime" in notes


def test_recompiling_openvino_serves_the_same_weights(material, frames):
    if importlib.util.find_spec("openvino") is None:  # importing it here would let it call home
        pytest.skip("needs openvino: pip install 'semla-ros[openvino]'")
    from semla_ros.bench.candidate_openvino import CompiledAnew

    monkey = {**CANDIDATES, "openvino-anew": lambda m: CompiledAnew(m, precision="f32")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semla_ros.bench.swap_bench.CANDIDATES", monkey)
        bench = run_swap_bench(
            material, frames, rounds=1, count=2, keys=("semla-onnx", "openvino-anew")
        )
    assert not bench.skipped
    assert bench.measures["openvino-anew"].difference < 1e-3


def test_one_adapter_cannot_be_swapped(material, frames):
    alone = Material(material.bundle, dict(list(material.adapters.items())[:1]), 1)
    with pytest.raises(EvaluationError, match="two adapters"):
        run_swap_bench(alone, frames, rounds=1, count=2)


@pytest.mark.parametrize("wrong", [{"keys": ("x",)}, {"rounds": 0}, {"shapes": "vit-x"}])
def test_what_cannot_be_compared_is_refused(wrong):
    with pytest.raises(ConfigError):
        SwapRequest(**wrong)
