"""A short soak of the real pipeline, and the ledger of its swaps."""

from concurrent.futures import Future

import numpy as np
import pytest

from semla_ros.bench.ledger import COMMITTED, FAILED, LOGGED, REQUESTED, SUPERSEDED, SwapLedger
from semla_ros.bench.measures import Slope
from semla_ros.bench.record import save_record
from semla_ros.bench.soak import Soak, SoakRequest, run_soak, soak_record
from semla_ros.core.answers import SwapEvent
from semla_ros.core.errors import ConfigError
from semla_ros.core.types import AdapterMix

BASE = AdapterMix.base_only()


class Asked:
    """Stands for a swapper: answers as it is told."""

    def __init__(self):
        self.futures = []

    def request(self, mix, *, reason, stamp_ns):
        self.futures.append(Future())
        return self.futures[-1]


def event(*, committed=True, error=""):
    return SwapEvent(0, BASE, BASE, "domain", committed, error)


def test_every_request_is_counted_and_every_end():
    ledger, swapper = SwapLedger(), Asked()
    ledger.watch(swapper)
    for _ in range(5):
        swapper.request(BASE, reason="domain", stamp_ns=0)
    assert not ledger.balanced
    one, other, third, fourth, fifth = swapper.futures
    one.set_result(event())
    other.set_result(event(committed=False, error="superseded by pinned base=1"))
    third.set_result(event(committed=False, error="the adapter is damaged"))
    fourth.cancel()
    fifth.set_exception(ValueError())
    kinds = (REQUESTED, COMMITTED, SUPERSEDED, FAILED)
    assert [ledger.count(kind) for kind in kinds] == [5, 1, 1, 3]
    assert ledger.balanced


def test_a_short_soak_holds(tiny, tmp_path):
    request = SoakRequest(
        frames=300,
        probes=4,
        size=(48, 64),
        changes={"bundle": str(tiny.root), "engine": "onnx", "trigger_consecutive": 1},
    )
    soak = run_soak(request)
    assert len(soak.latencies_ms) == 300
    assert np.isfinite(soak.latencies_ms).all()
    assert soak.changes == 7
    assert soak.probes == 4
    assert soak.drifted == 0
    assert soak.ledger.balanced
    assert soak.ledger.count(COMMITTED) == soak.events == soak.ledger.count(LOGGED)
    assert soak.ledger.count(COMMITTED) >= 4 * 3
    assert soak.ledger.count(FAILED) == 0
    assert not soak.errors.get("infer")
    save_record(soak_record(request, soak, command="semla bench soak"), tmp_path / "soak.json")


def soak_of(*, drifted=0, events=0, memory=((0, 0.0, 100.0), (1, 1.0, 100.0))):
    return Soak("onnx", np.array([1.0] * 20), memory, events=events, probes=1, drifted=drifted)


def test_drift_a_lost_swap_or_growth_is_not_held():
    assert soak_of().held
    assert not soak_of(drifted=1).held
    assert not soak_of(events=1).held
    leak = tuple((i, float(i), 100.0 + i) for i in range(200))
    assert not soak_of(memory=leak).held
    settled = tuple((i, float(i), 100.0 + min(i, 90)) for i in range(200))
    assert soak_of(memory=settled).held
    assert soak_of(memory=settled).growth == Slope(0.0, 0.0, 0.0)


@pytest.mark.parametrize("wrong", [{}, {"frames": -1}, {"frames": 5, "probes": 0}])
def test_what_cannot_be_soaked_is_refused(wrong):
    with pytest.raises(ConfigError):
        SoakRequest(**wrong)
