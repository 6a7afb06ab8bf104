import shutil
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from semla_ros.core.errors import (
    EngineError,
    LibraryError,
    VocabularyError,
)
from semla_ros.core.executors import InlineExecutor
from semla_ros.core.types import AdapterMix
from semla_ros.library.library import AdapterLibrary
from semla_ros.pipeline.commands import CommandQueue


def only(name: str) -> AdapterMix:
    return AdapterMix((name,), (1.0,))


def run(pipeline, frames):
    return [pipeline.step(frame) for frame in frames]


def mixes(results):
    return [result.mix.names[0] for result in results]


def test_a_pinned_mix_stays_while_support_goes_on(world, make_frames):
    with world.pipeline() as pipeline:
        run(pipeline, make_frames("red", "red"))
        future = pipeline.pin(only("green"))
        results = run(pipeline, make_frames("blue", "blue", "blue", start=2))
        assert future.result(0).committed
        assert results[0].swaps[-1].reason == "pinned"
        assert mixes(results) == ["green"] * 3
        assert pipeline.pinned == only("green")
        assert results[-1].support.nearest == "blue"
        future = pipeline.unpin()
        (after,) = run(pipeline, make_frames("blue", start=5))
        assert future.result(0).reason == "unpinned"
        assert after.mix == only("blue")
        assert pipeline.pinned is None


def test_a_pin_that_fails_does_not_pin(world, make_frames):
    with world.pipeline() as pipeline:
        (world.root / "library" / "green" / "adapter_model.safetensors").write_bytes(b"torn")
        pipeline.library._memory.clear()
        future = pipeline.pin(only("green"))
        (result,) = run(pipeline, make_frames("red"))
        assert not future.result(0).committed
        assert result.mix == AdapterMix.base_only()
        assert pipeline.pinned is None
        assert pipeline.health.errors["swap"] == 1
        assert mixes(run(pipeline, make_frames("red", "red", start=1)))[-1] == "red"


def test_what_cannot_be_pinned_is_refused_at_once(world):
    with world.pipeline(exclude="red") as pipeline:
        for name in ("nonsense", "red"):
            with pytest.raises(LibraryError, match=name):
                pipeline.pin(only(name))
        pipeline.pin(AdapterMix.base_only())


def test_poll_commits_when_no_frame_flows(world):
    with world.pipeline() as pipeline:
        future = pipeline.pin(only("red"))
        assert not future.done()
        events = pipeline.poll(123)
        assert [event.stamp_ns for event in events] == [123]
        assert future.result(0) is events[0]
        assert pipeline.poll(124) == ()
        assert pipeline.active == only("red")


def test_orders_are_carried_out_one_after_the_other_and_none_is_lost(world, make_frames):
    with world.pipeline() as pipeline:
        futures = [
            pipeline.pin(only("red")),
            pipeline.set_vocabulary(["car"]),
            pipeline.pin(only("blue")),
            pipeline.set_vocabulary(["car", "tree"]),
        ]
        events = pipeline.poll(1)
        assert [future.result(0) for future in futures] == list(events)
        assert all(event.committed for event in events)
        (result,) = run(pipeline, make_frames("red"))
        assert result.mix == only("blue")
        assert result.vocabulary.names == ("car", "tree")


def test_a_new_vocabulary_changes_the_labels_from_the_next_frame(world, make_frames):
    with world.pipeline() as pipeline:
        pipeline.set_vocabulary([f"class {i}" for i in range(300)])
        (result,) = run(pipeline, make_frames("red"))
        assert result.labels.dtype == np.uint16
        assert len(result.vocabulary.names) == 300
        for refused in (["a", "A"], ["car", ""], [], ["car, van", "car, van "], ["car", ", van"]):
            with pytest.raises(VocabularyError):
                pipeline.set_vocabulary(refused)
        failed = pipeline.set_vocabulary(["endless"])
        (result,) = run(pipeline, make_frames("red", start=1))
        assert "shorter prompt" in failed.result(0).error
        assert len(result.vocabulary.names) == 300


def test_reloading_finds_a_new_adapter(world, make_frames, add_domain):
    with world.pipeline() as pipeline:
        run(pipeline, make_frames("grey", "grey"))
        add_domain("grey", (130, 130, 130))
        future = pipeline.reload_library()
        results = run(pipeline, make_frames("grey", "grey", "grey", start=2))
        assert future.result(0).reason == "library"
        assert "grey" in pipeline.library.names
        assert mixes(results)[-1] == "grey"


def test_who_asks_for_a_reload_that_has_not_begun_shares_it(world, monkeypatch):
    gate, read, reload = threading.Event(), [], AdapterLibrary.reload
    monkeypatch.setattr(AdapterLibrary, "reload", lambda self: read.append(1) or reload(self))
    with ThreadPoolExecutor(1) as swap:
        pipeline = world.pipeline(swap, InlineExecutor(), adaptation="background")
        swap.submit(gate.wait, 30)
        refused = pipeline.reload_library()
        pipeline.refuse_orders("deactivated")
        assert isinstance(refused.exception(0), EngineError)
        futures = [pipeline.reload_library() for _ in range(20)]
        gate.set()
        while not futures[0].done():
            pipeline.poll(1)
        assert {future.result(0).committed for future in futures} == {True}
        assert len(read) == 1
        again = pipeline.reload_library()
        while not again.done():
            pipeline.poll(1)
        assert len(read) == 2, "one that was read does not answer for later changes"
        pipeline.close()


def test_reloading_without_the_active_adapter_leaves_it(world, make_frames):
    with world.pipeline(swap_policy="never") as pipeline:
        pipeline.pin(AdapterMix(("red", "blue"), (0.5, 0.5)))
        run(pipeline, make_frames("red"))
        shutil.rmtree(world.root / "library" / "red")
        pipeline.reload_library()
        (result,) = run(pipeline, make_frames("red", start=1))
        assert result.mix == only("blue")
        assert pipeline.pinned == only("blue")


def test_a_library_that_cannot_be_read_leaves_the_old_one(world, make_frames):
    with world.pipeline() as pipeline:
        shutil.move(world.root / "library", world.root / "away")
        future = pipeline.reload_library()
        with pytest.raises(LibraryError, match="library"):
            future.result(0)
        assert mixes(run(pipeline, make_frames("red", "red")))[-1] == "red"


def test_a_closed_pipeline_refuses_and_answers(world, make_frames):
    pipeline = world.pipeline()
    waiting = pipeline.pin(only("red"))
    pipeline.close()
    pipeline.close()
    with pytest.raises(EngineError, match="closed"):
        waiting.result(0)
    for call in (
        lambda: pipeline.step(make_frames("red")[0]),
        lambda: pipeline.pin(only("red")),
        pipeline.unpin,
        pipeline.reload_library,
        lambda: pipeline.set_vocabulary(["car"]),
    ):
        with pytest.raises(EngineError, match="closed"):
            call()
    assert pipeline.poll(1) == ()


def test_an_order_that_comes_while_the_pipeline_closes_is_answered():
    """It has passed every check for an open pipeline and arrives when the others are answered."""
    orders = CommandQueue()
    orders.refuse(EngineError("the pipeline was closed"), close=True)
    answer = orders.put(lambda stamp_ns: Future())
    assert isinstance(answer.exception(0), EngineError)
