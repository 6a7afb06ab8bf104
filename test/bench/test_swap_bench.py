"""Every way to swap gives the same logits; only then is comparing their times fair."""

import importlib.util
import math

import pytest

from semla_ros.bench.candidates import Material
from semla_ros.bench.swap_bench import CANDIDATES, SwapRequest, compared
from semla_ros.bench.swap_session import SwapSession
from semla_ros.core.errors import ConfigError, EvaluationError
from semla_ros.core.types import AdapterMix
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
    request = SwapRequest(rounds=1, frames=4, keys=keys)
    record = compared(request, material, frames, command="c")
    assert len(record.rows) == len(keys)
    for row in record.rows:
        assert row["difference"] < 1e-4, row["way"]
        assert row["equal"]
        assert 0 < row["ready_p50_ms"] <= row["ready_max_ms"]
        assert row["frame_swapping_p50_ms"] > 0
        assert not math.isnan(row["held_mib"])
    assert record.rows[0]["processor_over_first"] == 1.0
    assert not [note for note in record.notes if "left out" in note]


def test_one_at_a_time_is_measured_alike(material, frames):
    mixes = tuple(AdapterMix.from_weights({name: 1.0}) for name in material.adapters)
    session = SwapSession(CANDIDATES, material, frames, mixes, 2)
    for key in ("semla-onnx", "onnx-anew") * 2:
        session.turn(key)
        session.close()
    for each in session.measures.values():
        assert len(each.ready_ms) == len(each.ready_cpu_ms) == 2 * len(mixes)
        assert len(each.quiet_ms) == 4
        assert each.difference < 1e-4


def test_a_way_that_is_not_available_is_left_out_with_its_reason(material, frames, monkeypatch):
    def refuse(_):
        raise EvaluationError("no such runtime")

    others = {**CANDIDATES, "openvino-anew": refuse}
    monkeypatch.setattr("semla_ros.bench.swap_bench.CANDIDATES", others)
    request = SwapRequest(rounds=1, frames=2, keys=("semla-onnx", "openvino-anew"))
    notes = compared(request, material, frames, command="c").notes
    assert "openvino-anew was left out: no such runtime" in notes


def test_recompiling_openvino_serves_the_same_weights(material, frames, monkeypatch):
    if importlib.util.find_spec("openvino") is None:  # importing it here would let it call home
        pytest.skip("needs openvino: pip install '.[openvino]'")
    from semla_ros.bench.candidate_openvino import CompiledAnew

    others = {**CANDIDATES, "openvino-anew": lambda m: CompiledAnew(m, precision="f32")}
    monkeypatch.setattr("semla_ros.bench.swap_bench.CANDIDATES", others)
    request = SwapRequest(rounds=1, frames=2, keys=("semla-onnx", "openvino-anew"))
    record = compared(request, material, frames, command="c")
    assert record.rows[1]["difference"] < 1e-3


def test_one_adapter_cannot_be_swapped(material, frames):
    alone = Material(material.bundle, dict(list(material.adapters.items())[:1]), 1)
    with pytest.raises(EvaluationError, match="two adapters"):
        compared(SwapRequest(), alone, frames, command="c")


@pytest.mark.parametrize("wrong", [{"keys": ("x",)}, {"rounds": 0}, {"shapes": "vit-x"}])
def test_what_cannot_be_compared_is_refused(wrong):
    with pytest.raises(ConfigError):
        SwapRequest(**wrong)
