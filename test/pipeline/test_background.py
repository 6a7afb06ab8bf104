import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from semla_ros.core.errors import (
    EngineError,
)
from semla_ros.core.executors import InlineExecutor
from semla_ros.core.types import AdapterMix


def only(name: str) -> AdapterMix:
    return AdapterMix((name,), (1.0,))


def run(pipeline, frames):
    return [pipeline.step(frame) for frame in frames]


def mixes(results):
    return [result.mix.names[0] for result in results]


def test_a_step_never_waits_for_navigator_or_swap(world, make_frames):
    """The background is blocked on purpose; frames must keep coming."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as swap, ThreadPoolExecutor(1) as navigate:
        pipeline = world.pipeline(swap, navigate, adaptation="background")
        slow_encode, slow_prepare = world.encoder.encode, world.engine._prepare_impl
        world.encoder.encode = lambda rgb: (gate.wait(20), slow_encode(rgb))[1]
        world.engine._prepare_impl = lambda i, s: (gate.wait(20), slow_prepare(i, s))[1]
        future = pipeline.pin(only("red"))
        results = run(pipeline, make_frames(*["blue"] * 50))
        assert mixes(results) == ["base"] * 50
        assert world.encoder.seen == 0
        gate.set()
        while not future.done():
            pipeline.poll(1)
        assert future.result(0).committed
        (result,) = run(pipeline, make_frames("blue", start=50))
        assert result.mix == only("red")
        pipeline.close()


def test_one_frame_is_embedded_at_a_time_even_if_stamps_keep_stepping_back(world, make_frames):
    """Two cameras on one topic; each step back forgets what was seen, not that a frame runs."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as navigate:
        pipeline = world.pipeline(InlineExecutor(), navigate, adaptation="background")
        encode = world.encoder.encode
        world.encoder.encode = lambda rgb: (gate.wait(20), encode(rgb))[1]
        early, late = make_frames("red"), make_frames("blue", start=500)
        run(pipeline, (late + early) * 20)
        gate.set()
        navigate.submit(lambda: None).result(20)
        assert world.encoder.seen == 1
        (first,) = run(pipeline, make_frames("green", start=1))
        assert first.estimate is None, "that frame was seen before the step back"
        navigate.submit(lambda: None).result(20)
        (second,) = run(pipeline, make_frames("green", start=2))
        assert second.estimate.stamp_ns == first.stamp_ns
        pipeline.close()


def test_what_the_camera_sees_supersedes_neither_a_swap_nor_an_order(world, make_frames):
    gate = threading.Event()
    with ThreadPoolExecutor(1) as swap:
        pipeline = world.pipeline(swap, InlineExecutor(), adaptation="background")
        slow_prepare = world.engine._prepare_impl
        world.engine._prepare_impl = lambda i, s: (gate.wait(20), slow_prepare(i, s))[1]
        run(pipeline, make_frames("red", "red", "blue", "blue", "blue"))
        gate.set()
        events = wait_for_event(pipeline)
        assert [(e.to_mix, e.committed) for e in events] == [(only("red"), True)]
        gate.clear()
        future = pipeline.pin(only("green"))
        run(pipeline, make_frames("blue", "blue", "blue", start=5))
        gate.set()
        assert [e.to_mix for e in wait_for_event(pipeline)] == [only("green")]
        assert future.result(0).committed
        pipeline.close()


def test_what_the_navigator_found_is_acted_on_between_frames(world, make_frames):
    with ThreadPoolExecutor(1) as swap, ThreadPoolExecutor(1) as navigate:
        pipeline = world.pipeline(swap, navigate, adaptation="background", swap_policy="always")
        run(pipeline, make_frames("red"))
        navigate.submit(lambda: None).result(20)
        (event,) = wait_for_event(pipeline)
        assert (event.to_mix, event.reason) == (only("red"), "domain")
        (result,) = run(pipeline, make_frames("red", start=1))
        assert result.mix == only("red")
        pipeline.close()


def test_inline_only_frames_adapt(world, make_frames):
    pipeline = world.pipeline(InlineExecutor(), InlineExecutor(), swap_policy="always")
    run(pipeline, make_frames("red"))
    assert pipeline.poll(1) == ()
    (result,) = run(pipeline, make_frames("red", start=1))
    assert result.mix == only("red")
    pipeline.close()


def wait_for_event(pipeline):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        events = pipeline.poll(1)
        if events:
            return events
    raise AssertionError("no swap came through")


def test_orders_from_many_threads_while_frames_flow(world, make_frames):
    with ThreadPoolExecutor(1) as swap, ThreadPoolExecutor(1) as navigate:
        pipeline = world.pipeline(swap, navigate, adaptation="background")

        def user(number: int):
            done = []
            for i in range(10):
                name = ("red", "green", "blue")[(number + i) % 3]
                done.append(pipeline.pin(only(name)).result(20))
                done.append(pipeline.set_vocabulary(["road", f"thing {i}"]).result(20))
            return done

        with ThreadPoolExecutor(3) as users:
            jobs = [users.submit(user, number) for number in range(3)]
            index = 0
            while not all(job.done() for job in jobs):
                (frame,) = make_frames("red", start=index)
                result = pipeline.step(frame)
                assert int(result.labels.max()) < len(result.vocabulary.names)
                index += 1
        answers = [event for job in jobs for event in job.result()]
        assert len(answers) == 60
        assert all(answer.committed for answer in answers)
        pipeline.close()


def test_closing_while_the_library_is_read_answers_too(world):
    gate = threading.Event()
    with ThreadPoolExecutor(1) as swap, ThreadPoolExecutor(1) as navigate:
        pipeline = world.pipeline(swap, navigate, adaptation="background")
        swap.submit(gate.wait, 20)
        waiting = pipeline.reload_library()
        threading.Timer(0.05, gate.set).start()
        pipeline.close()
        with pytest.raises((EngineError, CancelledError)):
            waiting.result(60)
