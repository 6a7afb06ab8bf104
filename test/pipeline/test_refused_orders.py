"""What was answered "refused" never takes effect, whatever had become of it until then."""

from collections import deque
from concurrent.futures import Executor, Future

import pytest

from semla_ros.core.errors import EngineError
from semla_ros.core.executors import InlineExecutor
from semla_ros.core.types import AdapterMix


def only(name: str) -> AdapterMix:
    return AdapterMix((name,), (1.0,))


class LaterExecutor(Executor):
    """Runs what was submitted when the test says so."""

    def __init__(self) -> None:
        self.jobs: deque[tuple] = deque()

    def submit(self, fn, /, *args, **kwargs) -> Future:
        self.jobs.append((fn, args, kwargs))
        return Future()

    def run_all(self) -> None:
        while self.jobs:
            fn, args, kwargs = self.jobs.popleft()
            fn(*args, **kwargs)


def state(pipeline):
    return (
        pipeline.active,
        pipeline.pinned,
        pipeline.vocabulary.names,
        pipeline.library.names,
        pipeline.busy,
    )


ORDERS = {
    "pin": lambda pipeline: pipeline.pin(only("red")),
    "unpin": lambda pipeline: pipeline.unpin(),
    "set_vocabulary": lambda pipeline: pipeline.set_vocabulary(["car"]),
    "reload_library": lambda pipeline: pipeline.reload_library(),
}
STAGES = ("waiting", "started", "prepared")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("order", ORDERS)
def test_a_refused_order_is_gone(world, make_frames, add_domain, order, stage):
    swaps = LaterExecutor()
    with world.pipeline(swaps, InlineExecutor(), swap_policy="never") as pipeline:
        pinned = pipeline.pin(only("green"))
        pipeline.step(make_frames("green")[0])
        swaps.run_all()
        pipeline.step(make_frames("green", start=1)[0])
        assert pinned.result(0).committed
        add_domain("grey", (130, 130, 130))
        before = state(pipeline)

        future = ORDERS[order](pipeline)
        if stage == "waiting" and order == "reload_library":
            assert len(swaps.jobs) == 1  # the folder has not been read yet
        elif stage != "waiting":
            if order == "reload_library":
                swaps.run_all()
            pipeline.poll(300_000_000)
            assert pipeline.busy
            if stage == "prepared":
                swaps.run_all()
        pipeline.refuse_orders("the node was deactivated meanwhile")
        with pytest.raises(EngineError, match="deactivated"):
            future.result(0)

        for _ in range(3):  # the next activation
            pipeline.poll(400_000_000)
            swaps.run_all()
        result = pipeline.step(make_frames("green", start=5)[0])
        assert state(pipeline) == before
        assert not result.swaps
        assert (result.mix, result.vocabulary.names) == (only("green"), ("road", "sky"))

        again = ORDERS[order](pipeline)
        for _ in range(3):
            pipeline.poll(500_000_000)
            swaps.run_all()
        assert again.result(0).committed


def test_an_order_that_was_carried_out_before_says_so(world):
    with world.pipeline() as pipeline:
        future = pipeline.pin(only("red"))
        pipeline.poll(1)
        pipeline.refuse_orders("too late")
        assert future.result(0).committed
        assert pipeline.pinned == only("red")


def test_an_unpin_that_fails_leaves_the_pin(world, make_frames):
    with world.pipeline() as pipeline:
        pipeline.pin(only("green"))
        pipeline.step(make_frames("red")[0])
        pipeline.step(make_frames("red", start=1)[0])
        pipeline.engine.fail_at = {"write"}
        future = pipeline.unpin()
        pipeline.poll(200_000_000)
        assert not future.result(0).committed
        assert pipeline.pinned == only("green")


def test_a_reload_whose_swap_fails_leaves_the_library(world, add_domain):
    with world.pipeline() as pipeline:
        pipeline.engine.fail_at = {"write"}
        add_domain("grey", (130, 130, 130))
        future = pipeline.reload_library()
        pipeline.poll(1)
        assert not future.result(0).committed
        assert "grey" not in pipeline.library.names
