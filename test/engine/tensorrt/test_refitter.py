"""The ladder with a scripted slot that fails in every way the documentation knows of."""

import numpy as np
import pytest

from semla_ros.bundle import GraphWeight
from semla_ros.engine.tensorrt.plan_cache import Golden
from semla_ros.engine.tensorrt.refitter import CLEAN, DIRTY, ProbeRules, RefitLadder
from semla_ros.engine.tensorrt.staging import HostBlock, Layout
from semla_ros.errors import EngineError

LAYERS = {
    name: GraphWeight(name, name, "segmentation", f"{name}.weight", True, (40, 50))
    for name in ("one", "two")
}
RNG = np.random.default_rng(0)
BASE = {name: RNG.normal(size=(40, 50)).astype(np.float32) for name in LAYERS}
LAYOUT = Layout.of(LAYERS, dict.fromkeys(LAYERS, np.float32))


def block(weights=None) -> HostBlock:
    made = HostBlock(LAYOUT, BASE, np.zeros(LAYOUT.nbytes, np.uint8))
    made.write(weights or {})
    return made


def changed(factor: float) -> dict[str, np.ndarray]:
    return {name: (factor * weight).astype(np.float32) for name, weight in BASE.items()}


class ScriptedSlot:
    """Holds weights as an engine does; `script` says how the next calls of a method go wrong."""

    def __init__(self):
        self.staged: dict[str, np.ndarray] = {}
        self.held = {name: block().arrays[name].copy() for name in LAYERS}
        self.script: dict[str, list[str]] = {}
        self.calls: list[str] = []

    def fault(self, method: str) -> str:
        self.calls.append(method)
        return self.script[method].pop(0) if self.script.get(method) else ""

    def stage(self, staged: HostBlock) -> None:
        if self.fault("stage") == "raises":
            raise EngineError("cuMemcpyHtoDAsync_v2 failed")
        self.staged = {name: array.copy() for name, array in staged.arrays.items()}

    def refit(self) -> bool:
        fault = self.fault("refit")
        if fault == "raises":
            raise EngineError("CUDA error 719")
        if fault == "missing":
            raise EngineError("TensorRT misses weights ['two.weight']")
        names = list(LAYERS)[:1] if fault in ("partial", "residue") else list(LAYERS)
        if fault != "nothing":
            self.held.update({name: self.staged[name] for name in names})
        return fault != "partial"

    def probe(self) -> np.ndarray:
        fault = self.fault("probe")
        if fault == "raises":
            raise EngineError("TensorRT did not start the run")
        answer = np.concatenate([self.held[name].sum(axis=0) for name in LAYERS])
        if fault == "NaN":
            answer = np.full_like(answer, np.nan)
        if fault == "off":
            answer = -answer
        return answer.astype(np.float32)

    def deserialise(self) -> None:
        if self.fault("deserialise") == "raises":
            raise EngineError("TensorRT refuses the plan")
        self.held = {name: block().arrays[name].copy() for name in LAYERS}


def golden() -> Golden:
    return Golden("base", ScriptedSlot().probe(), 1)


@pytest.fixture
def slot():
    return ScriptedSlot()


@pytest.fixture
def ladder(slot):
    made = RefitLadder((slot, ScriptedSlot()), ProbeRules(golden(), 1e-3))
    for index in (0, 1):
        assert made.check_golden(index, block(), golden()) < 1e-6
    slot.calls.clear()
    return made


def holds(slot: ScriptedSlot, weights) -> bool:
    wanted = block(weights).arrays
    return all(np.array_equal(slot.held[name], wanted[name]) for name in LAYERS)


def test_a_swap_stages_refits_and_asks_the_probe(ladder, slot):
    ladder.swap(0, block(changed(1.5)), good=block())
    assert slot.calls == ["stage", "refit", "probe"]
    assert ladder.health[0].state == CLEAN
    assert holds(slot, changed(1.5))


def test_there_and_back_writes_the_whole_list_each_time(ladder, slot):
    first = block(changed(1.5))
    ladder.swap(0, first, good=block())
    answer = slot.probe()
    ladder.swap(0, block({"two": changed(3.0)["two"]}), good=block())
    assert holds(slot, {"two": changed(3.0)["two"]})
    ladder.swap(0, first, good=block())
    np.testing.assert_array_equal(slot.probe(), answer)


FIRST_RUNG = {
    "refit returns False after writing a part": ("refit", "partial", "refused the weights"),
    "refit raises": ("refit", "raises", "CUDA error 719"),
    "weights are missing": ("refit", "missing", "misses weights"),
    "the copy fails": ("stage", "raises", "cuMemcpyHtoDAsync"),
    "the probe does not run": ("probe", "raises", "did not start"),
    "the answer is not finite": ("probe", "NaN", "not finite"),
    "the answer is unlike the base's": ("probe", "off", "unlike the reference"),
    "nothing changed: silently stale": ("refit", "nothing", "no effect"),
}


@pytest.mark.parametrize(("method", "fault", "told"), FIRST_RUNG.values(), ids=FIRST_RUNG)
def test_a_failure_is_refitted_from_the_last_good_set(ladder, slot, method, fault, told):
    good = block(changed(1.2))
    ladder.swap(0, good, good=block())
    slot.script[method] = [fault]
    with pytest.raises(EngineError, match=told) as error:
        ladder.swap(0, block(changed(2.0)), good=good)
    assert "the slot is usable again" in str(error.value)
    assert ladder.health[0].state == CLEAN
    assert holds(slot, changed(1.2))
    assert not ladder.frozen
    assert "deserialise" not in slot.calls
    ladder.swap(0, block(changed(2.0)), good=good)
    assert holds(slot, changed(2.0))


def test_residue_of_the_set_before_is_noticed_when_a_set_comes_again(ladder, slot):
    known = block(changed(1.5))
    ladder.swap(0, known, good=block())
    ladder.swap(0, block(changed(2.5)), good=known)
    slot.script["refit"] = ["residue"]
    ladder.swap(1, known, good=block())
    with pytest.raises(EngineError, match="equal weights answered differently"):
        ladder.swap(0, known, good=block())
    assert holds(slot, {})


def test_the_second_failure_makes_the_engine_anew(ladder, slot):
    good = block(changed(1.2))
    slot.script["refit"] = ["partial", "raises"]
    with pytest.raises(EngineError, match="last good set failed too") as error:
        ladder.swap(0, block(changed(2.0)), good=good)
    assert "usable again" in str(error.value)
    assert slot.calls.count("deserialise") == 1
    assert holds(slot, changed(1.2))
    assert not ladder.frozen


THIRD_RUNG = {
    "the plan does not load": {"refit": ["partial", "partial"], "deserialise": ["raises"]},
    "the new engine answers nonsense": {"refit": ["raises"] * 2, "probe": ["NaN"]},
    "the new engine is off the golden answer": {"refit": ["raises"] * 2, "probe": ["off"]},
    "the new engine takes no weights": {"refit": ["raises"] * 3},
}


@pytest.mark.parametrize("script", THIRD_RUNG.values(), ids=THIRD_RUNG)
def test_the_third_failure_freezes_adaptation(ladder, slot, script, caplog):
    slot.script = {method: list(faults) for method, faults in script.items()}
    other = ladder.slots[1]
    with pytest.raises(EngineError, match="adaptation is frozen"):
        ladder.swap(0, block(changed(2.0)), good=block())
    assert ladder.frozen
    assert ladder.health[0].state == DIRTY
    assert holds(other, {}), "what serves is not touched"
    slot.calls.clear()
    other.calls.clear()
    for index in (0, 1):
        with pytest.raises(EngineError, match="adaptation is frozen"):
            ladder.swap(index, block(), good=block())
    assert not slot.calls
    assert not other.calls
    assert "no more swaps" in caplog.text


def test_tiny_changes_may_give_equal_answers(ladder, slot):
    slot.script["refit"] = ["nothing"]
    ladder.swap(0, block(changed(1.00001)), good=block())
    assert ladder.health[0].state == CLEAN


def test_a_golden_answer_that_is_off_is_refused_with_the_remedy(ladder, slot):
    slot.script["probe"] = ["off"]
    with pytest.raises(EngineError, match="--mode inputs"):
        ladder.check_golden(0, block(), golden())
    assert ladder.health[0].state == DIRTY
