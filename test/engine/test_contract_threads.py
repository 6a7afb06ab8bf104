"""The contract of every engine while threads meet, and over many swaps."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

import numpy as np
import pytest

from semla_ros.core.errors import EngineError

LEAK_KIB = 1024


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


def answer(engine, rgb):
    return engine.infer(rgb, keep_logits=True).logits


def held(engine, monkeypatch) -> tuple[threading.Event, threading.Event]:
    """From now on frames wait in the network; return what says so, and what lets them go on."""
    entered, leave = threading.Event(), threading.Event()
    whole = engine._infer_impl

    def slow(index, image):
        entered.set()
        assert leave.wait(20)
        return whole(index, image)

    monkeypatch.setattr(engine, "_infer_impl", slow)
    return entered, leave


def test_every_frame_is_computed_with_one_whole_set(engine, engine_set, rgb):
    """Prepare and commit as fast as possible while frames run; no frame may be a mixture."""
    sets = [engine_set(1), engine_set(2, touched=1, names=("road", "sky", "car"))]
    expected = {}
    for weight_set in sets:
        serve(engine, weight_set)
        expected[weight_set.mix] = answer(engine, rgb)
    stop = threading.Event()
    swaps = 0

    def swap_forever():
        nonlocal swaps
        while not stop.is_set():
            serve(engine, sets[swaps % 2])
            swaps += 1

    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(swap_forever)
        seen, frames = set(), 0
        wanted = 150 if engine.facts.name == "torch" else 1500
        deadline = time.monotonic() + 60
        try:
            while frames < wanted or swaps <= 10 or seen != set(expected):
                assert time.monotonic() < deadline, f"{swaps} swaps, {len(seen)} sets seen"
                frames += 1
                prediction = engine.infer(rgb, keep_logits=True)
                assert np.array_equal(prediction.logits, expected[prediction.mix]), prediction.mix
                seen.add(prediction.mix)
        finally:
            stop.set()
        worker.result()


def test_a_slot_is_not_rewritten_while_a_frame_is_still_computed_with_it(
    engine, engine_set, rgb, monkeypatch
):
    """The frame began before the commit; the next prepare must wait for it, not spoil it."""
    serve(engine, engine_set(1))
    expected = answer(engine, rgb)
    entered, leave = held(engine, monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        frame = pool.submit(engine.infer, rgb, keep_logits=True)
        assert entered.wait(20)
        serve(engine, engine_set(2))
        preparing = pool.submit(engine.prepare, engine_set(3))
        with pytest.raises(FutureTimeout):
            preparing.result(0.1)
        leave.set()
        prediction = frame.result(20)
        preparing.result(20)
    assert prediction.mix == engine_set(1).mix
    np.testing.assert_array_equal(prediction.logits, expected)


def test_closing_waits_for_the_frames_that_have_begun(engine, engine_set, rgb, monkeypatch):
    """A frame that comes while another one runs and the engine is closed: refused, not lost."""
    serve(engine, engine_set(1))
    entered, leave = held(engine, monkeypatch)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(engine.infer, rgb)
        assert entered.wait(20)
        closing = pool.submit(engine.close)
        with pytest.raises(FutureTimeout):
            closing.result(0.1)
        second = pool.submit(engine.infer, rgb)
        with pytest.raises((FutureTimeout, EngineError)):
            second.result(0.1)
        leave.set()
        assert first.result(20).mix == engine_set(1).mix
        closing.result(20)
        assert isinstance(second.exception(20), EngineError)


def test_closing_and_a_commit_that_waits_for_frames_do_not_block_each_other(
    engine, engine_set, monkeypatch
):
    """An engine that is changed in place takes the frames' lock inside its commit."""
    serve(engine, engine_set(1))
    engine.prepare(engine_set(2))
    entered, leave = threading.Event(), threading.Event()

    def in_place(slot):
        entered.set()
        assert leave.wait(20)
        assert engine._inferring.acquire(timeout=5), "close holds it and waits for the commit"
        engine._inferring.release()

    monkeypatch.setattr(engine, "_commit_impl", in_place)
    with ThreadPoolExecutor(2) as pool:
        commit = pool.submit(engine.commit)
        assert entered.wait(20)
        closing = pool.submit(engine.close)
        with pytest.raises(FutureTimeout):
            closing.result(0.1)
        leave.set()
        commit.result(20)
        closing.result(20)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc/self/statm")
def test_a_thousand_swaps_do_not_grow_the_memory(engine, engine_set, rgb):
    """A leak grows every time; what an allocator keeps for later, it keeps once or twice."""
    sets = [engine_set(1), engine_set(2, touched=1, names=("road", "sky"))]

    def growth_kib(swaps: int) -> int:
        before = resident_kib()
        for i in range(swaps):
            serve(engine, sets[i % 2])
            if i % 10 == 0 or engine.facts.name != "torch":
                engine.infer(rgb)
        return resident_kib() - before

    growth_kib(200)
    grown: list[int] = []
    while len(grown) < 5 and not any(kib < LEAK_KIB for kib in grown):
        grown.append(growth_kib(1000))
    assert min(grown) < LEAK_KIB, f"KiB grown over each 1000 swaps: {grown}"
