"""One engine serves until another one is made; no frame and no set is lost on the way."""

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.errors import EngineError
from semla_ros.engine import create_engine
from semla_ros.engine.deferred import DeferredEngine
from semla_ros.engine.onnx_engine import OnnxEngine

WAIT_S = 20


class Slow:
    """Makes an engine when told to."""

    def __init__(self, make):
        self.go, self.done = threading.Event(), threading.Event()
        self.engine = None
        self.wanted = True
        self._make = make

    def __call__(self, tell):
        self.wanted = tell("tactics", 1, 4)
        assert self.go.wait(WAIT_S)
        self.wanted = tell("tactics", 4, 4)
        self.engine = self._make()
        self.done.set()
        return self.engine


def until(condition):
    limit = threading.Event()
    for _ in range(WAIT_S * 100):
        if condition():
            return
        limit.wait(0.01)
    raise AssertionError("it did not happen in time")


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def answer(engine, rgb):
    return engine.infer(rgb, keep_logits=True).logits


@pytest.fixture
def slow(hand_made):
    return Slow(lambda: OnnxEngine(hand_made.bundle, threads=1))


@pytest.fixture
def deferred(hand_made, slow):
    with DeferredEngine(OnnxEngine(hand_made.bundle, threads=1), slow, what="second") as engine:
        yield engine
        slow.go.set()


def test_the_first_serves_until_the_second_is_made(deferred, slow, make_set, rgb):
    serve(deferred, make_set(1))
    before = answer(deferred, rgb)
    until(lambda: "tactics 1/4" in deferred.status.detail)
    assert (deferred.status.state, deferred.status.serving) == ("building", "onnx")
    first = deferred._current
    slow.go.set()
    until(lambda: deferred.status.state == "ready")
    assert deferred._current is slow.engine
    np.testing.assert_array_equal(answer(deferred, rgb), before)
    assert deferred.infer(rgb).mix == make_set(1).mix
    until(lambda: first._closed)
    serve(deferred, make_set(2))
    assert deferred.active.mix == make_set(2).mix


def test_onnx_hands_over_to_torch_with_the_same_set(tiny, rgb):
    """Two runtimes: what is published must be the same set, merged anew for the other one."""
    pytest.importorskip("torch", reason="engine torch needs PyTorch")
    from semla_ros.core.types import AdapterMix
    from semla_ros.core.weights import ArrayWeights, WeightSet

    rng = np.random.default_rng(0)
    names = tiny.manifest.vocabulary
    text = rng.normal(size=(len(names.names), 32)).astype(np.float32)
    weights = {
        layer.name: rng.normal(0, layer.shape[1] ** -0.5, layer.shape).astype(np.float32)
        for layer in tiny.manifest.layers
        if layer.graph == "segmentation"
    }
    weight_set = WeightSet(AdapterMix(("fog",), (1.0,)), ArrayWeights(weights), text, names)
    slow = Slow(lambda: create_engine("torch", tiny, threads=1))
    with DeferredEngine(create_engine("onnx", tiny, threads=1), slow, what="torch") as engine:
        serve(engine, weight_set)
        before = answer(engine, rgb)
        slow.go.set()
        until(lambda: engine.status.serving == "torch")
        np.testing.assert_allclose(answer(engine, rgb), before, atol=2e-3)
        assert engine.infer(rgb).mix == weight_set.mix


def test_a_set_that_is_prepared_but_not_committed_moves_along(deferred, slow, make_set, rgb):
    serve(deferred, make_set(1))
    deferred.prepare(make_set(2))
    slow.go.set()
    until(lambda: deferred.status.state == "ready")
    assert deferred.infer(rgb).mix == make_set(1).mix
    deferred.commit()
    assert deferred.infer(rgb).mix == make_set(2).mix


def test_a_set_that_failed_to_prepare_leaves_none_to_move_along(
    deferred, slow, make_set, rgb, monkeypatch
):
    serve(deferred, make_set(1))
    deferred.prepare(make_set(2))

    def breaking(index, weight_set):
        raise EngineError("the adapter file is gone")

    with monkeypatch.context() as patch:
        patch.setattr(deferred._current, "_prepare_impl", breaking)
        with pytest.raises(EngineError, match="gone"):
            deferred.prepare(make_set(3))
    slow.go.set()
    until(lambda: deferred.status.state == "ready")
    with pytest.raises(EngineError, match="without a prepared"):
        deferred.commit()
    assert deferred.infer(rgb).mix == make_set(1).mix


def test_a_set_that_does_not_fit_leaves_the_one_before_prepared(deferred, slow, make_set, rgb):
    serve(deferred, make_set(1))
    deferred.prepare(make_set(2))
    misfit = make_set(3)
    with pytest.raises(EngineError, match="expected"):
        deferred.prepare(replace(misfit, text_features=misfit.text_features[:, :-1]))
    slow.go.set()
    until(lambda: deferred.status.state == "ready")
    deferred.commit()
    assert deferred.infer(rgb).mix == make_set(2).mix


def test_a_commit_during_the_change_is_not_lost(deferred, slow, make_set, rgb, monkeypatch):
    entered, leave = threading.Event(), threading.Event()
    whole = OnnxEngine.prepare

    def waits(engine, weight_set):
        if engine is slow.engine:
            entered.set()
            assert leave.wait(WAIT_S)
        whole(engine, weight_set)

    monkeypatch.setattr(OnnxEngine, "prepare", waits)
    serve(deferred, make_set(1))
    deferred.prepare(make_set(2))
    slow.go.set()
    assert entered.wait(WAIT_S)
    deferred.commit()
    assert deferred.infer(rgb).mix == make_set(2).mix
    leave.set()
    until(lambda: deferred.status.state == "ready")
    assert deferred.infer(rgb).mix == make_set(2).mix
    with pytest.raises(EngineError, match="without a prepared"):
        deferred.commit()


def test_frames_go_on_through_the_change(deferred, slow, make_set, rgb):
    sets = [make_set(1), make_set(2)]
    expected = {}
    for weight_set in sets:
        serve(deferred, weight_set)
        expected[weight_set.mix] = answer(deferred, rgb)
    stop = threading.Event()
    swaps = []

    def swap():
        while not stop.is_set():
            serve(deferred, sets[len(swaps) % 2])
            swaps.append(deferred.status.state)

    thread = threading.Thread(target=swap)
    thread.start()
    for frame in range(400):
        if frame == 100:
            slow.go.set()
            until(lambda: deferred.status.state == "ready")
        prediction = deferred.infer(rgb, keep_logits=True)
        np.testing.assert_array_equal(prediction.logits, expected[prediction.mix])
    stop.set()
    thread.join(WAIT_S)
    assert {"building", "ready"} <= set(swaps)


def test_a_failure_leaves_the_first_serving_and_keeps_no_sets(hand_made, make_set, rgb, caplog):
    def fails(tell):
        tell("parsing", 0, 1)
        raise EngineError("the graph has an operator that it does not know")

    with DeferredEngine(OnnxEngine(hand_made.bundle, threads=1), fails, what="second") as engine:
        until(lambda: engine.status.state == "ready")
        assert "operator" in engine.status.detail
        weight_set = make_set(1)
        serve(engine, weight_set)
        assert engine.infer(rgb).mix == weight_set.mix
        kept = weakref.ref(weight_set.text_features)
        del weight_set
        gc.collect()
        assert kept() is None
    assert "onnx serves on" in caplog.text


def test_a_second_engine_of_another_graph_is_refused(hand_made, tiny, make_set, rgb):
    first = OnnxEngine(hand_made.bundle, threads=1)
    with DeferredEngine(first, lambda tell: OnnxEngine(tiny, threads=1), what="tiny") as engine:
        until(lambda: engine.status.state == "ready")
        assert "same graph" in engine.status.detail
        serve(engine, make_set(1))
        assert engine.infer(rgb).mix == make_set(1).mix


def test_closing_while_it_is_made_stops_the_maker_and_closes_both(hand_made, slow, monkeypatch):
    monkeypatch.setattr("semla_ros.engine.deferred._PATIENCE_S", 0.05)
    engine = DeferredEngine(OnnxEngine(hand_made.bundle, threads=1), slow, what="second")
    until(lambda: "1/4" in engine.status.detail)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.commit()
    slow.go.set()
    assert slow.done.wait(WAIT_S)
    until(lambda: slow.engine._closed)
    assert not slow.wanted
