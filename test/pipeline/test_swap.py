import threading
from collections import deque
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest

from semla_ros.bundle import GraphWeight
from semla_ros.core.errors import AdapterError, EngineError, VocabularyError
from semla_ros.core.executors import InlineExecutor
from semla_ros.core.types import BASE, AdapterMix, LoraAdapter, LoraLayer, Vocabulary
from semla_ros.core.weights import array_of
from semla_ros.engine.fake_engine import FakeEngine
from semla_ros.pipeline.swap import AdapterSwapper

IMAGE_LAYER, TEXT_LAYER = "image.fc", "text.fc"
LAYER = GraphWeight(IMAGE_LAYER, "p", "segmentation", "p", False, (4, 4))
RGB = np.full((8, 8, 3), 100, np.uint8)


def classes(*names: str) -> Vocabulary:
    return Vocabulary(names, np.zeros((len(names), 3), np.uint8))


def only(name: str) -> AdapterMix:
    return AdapterMix((name,), (1.0,))


class Base:
    """W0 of both layers is one everywhere."""

    def get(self, layer: str) -> np.ndarray:
        return np.ones((4, 4), np.float32)


class Adapters:
    """`a` adds 1 everywhere, `b` adds 2, `nan` is damaged in its values; others are missing."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def get(self, name: str) -> LoraAdapter:
        values = {"a": 1.0, "b": 2.0, "nan": np.nan}
        if name not in values:
            raise AdapterError(f"adapter {name!r} is truncated")
        self.read.append(name)
        ones = np.ones((1, 4), np.float32)
        layer = LoraLayer(ones, ones.T.copy(), values[name])
        return LoraAdapter(name, {IMAGE_LAYER: layer, TEXT_LAYER: layer})

    def gone(self) -> dict[str, str]:
        return {}


class Text:
    """Text features are the mean of the merged text layer."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[str, ...], float, object]] = []

    def encode(self, vocabulary, weights, *, key=None):
        mean = float(array_of(weights, TEXT_LAYER).mean()) if TEXT_LAYER in weights.names else 1.0
        self.calls.append((vocabulary.names, mean, key))
        if "endless" in vocabulary.names:
            raise VocabularyError("too long")
        return np.full((len(vocabulary.names), 3), mean, np.float32)


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


class Stage:
    def __init__(self, executor: Executor | None = None) -> None:
        self.engine = FakeEngine({IMAGE_LAYER: LAYER})
        self.text = Text()
        self.executor = executor or InlineExecutor()
        self.swapper = AdapterSwapper(
            self.engine, Adapters(), Base(), self.text, classes("road", "sky"), self.executor
        )

    def request(self, mix, **kwargs):
        return self.swapper.request(mix, **{"reason": "domain", "stamp_ns": 1, **kwargs})

    def serving(self) -> AdapterMix:
        return self.engine.infer(RGB).mix


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def later() -> Stage:
    return Stage(LaterExecutor())


def test_it_starts_with_the_base_weights(stage):
    assert stage.serving() == stage.swapper.active == AdapterMix.base_only()
    assert stage.swapper.vocabulary.names == ("road", "sky")
    assert stage.swapper.commit_ready(0) is None
    assert not stage.swapper.busy


def test_a_swap_takes_effect_at_the_commit_and_not_before(stage):
    future = stage.request(only("a"), detection_ms=12.5)
    assert stage.serving() == AdapterMix.base_only()
    assert stage.swapper.busy
    assert stage.swapper.target == only("a")
    assert not future.done()
    event = stage.swapper.commit_ready(7)
    assert future.result(0) is event
    assert event.committed
    assert (event.stamp_ns, event.reason, event.detection_ms) == (7, "domain", 12.5)
    assert (event.from_mix, event.to_mix) == (AdapterMix.base_only(), only("a"))
    assert event.fuse_ms > 0
    assert event.load_ms > 0
    assert event.stall_ms > 0
    assert stage.serving() == stage.swapper.active == only("a")
    assert stage.swapper.commit_ready(8) is None


def test_text_features_come_from_the_merged_text_tower(stage):
    stage.request(AdapterMix(("b", BASE), (0.75, 0.25)))
    names, mean, _ = stage.text.calls[-1]
    assert names == ("road", "sky")
    assert mean == pytest.approx(1 + 0.75 * 2)


def test_every_mix_and_every_library_has_its_own_text_key(stage):
    stage.request(only("a"))
    stage.request(only("b"))
    stage.request(only("a"), library=Adapters())
    assert stage.swapper.commit_ready(1).committed
    stage.request(only("b"))
    keys = [key for _, _, key in stage.text.calls]
    assert len(set(keys)) == len(keys) == 5


def test_a_new_vocabulary_is_served_with_the_same_mix(stage):
    stage.request(only("a"))
    stage.swapper.commit_ready(1)
    stage.request(only("a"), vocabulary=classes("car"), reason="vocabulary")
    assert stage.engine.infer(RGB).vocabulary.names == ("road", "sky")
    assert stage.swapper.commit_ready(2).committed
    assert stage.engine.infer(RGB).vocabulary.names == ("car",)
    stage.request(only("b"))
    stage.swapper.commit_ready(3)
    assert stage.engine.infer(RGB).vocabulary.names == ("car",)


@pytest.mark.parametrize(
    ("mix", "names", "match"),
    [
        (only("torn"), None, "truncated"),
        (only("nan"), None, "finite"),
        (only("a"), ("endless",), "too long"),
    ],
    ids=["damaged file", "NaN weights", "prompt too long"],
)
def test_a_failure_keeps_the_old_set_and_is_reported_once(stage, mix, names, match):
    stage.request(only("b"))
    stage.swapper.commit_ready(1)
    before = stage.engine.infer(RGB, keep_logits=True).logits
    future = stage.request(mix, vocabulary=None if names is None else classes(*names))
    event = stage.swapper.commit_ready(2)
    assert future.result(0) is event
    assert not event.committed
    assert match in event.error
    assert stage.swapper.commit_ready(3) is None
    assert stage.swapper.active == only("b")
    assert not stage.swapper.busy
    np.testing.assert_array_equal(stage.engine.infer(RGB, keep_logits=True).logits, before)
    stage.request(only("a"))
    assert stage.swapper.commit_ready(4).committed
    assert stage.serving() == only("a")


@pytest.mark.parametrize("step", ["prepare", "write", "commit"])
def test_an_engine_that_fails_at_any_step_keeps_serving(stage, step):
    stage.engine.fail_at = {step}
    stage.request(only("a"))
    event = stage.swapper.commit_ready(1)
    assert not event.committed
    assert step in event.error
    assert stage.serving() == stage.swapper.active == AdapterMix.base_only()
    stage.engine.fail_at = ()
    stage.request(only("a"))
    assert stage.swapper.commit_ready(2).committed


@pytest.mark.parametrize(("part", "method"), [("text", "encode"), ("engine", "commit")])
def test_an_unexpected_exception_is_a_failed_swap_too(stage, monkeypatch, part, method):
    def broken(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr(getattr(stage, part), method, broken)
    stage.request(only("a"))
    event = stage.swapper.commit_ready(1)
    assert not event.committed
    assert "MemoryError: no room" in event.error
    monkeypatch.undo()
    stage.request(only("a"))
    assert stage.swapper.commit_ready(2).committed


def test_a_base_that_cannot_be_served_is_an_error_at_once():
    engine = FakeEngine({IMAGE_LAYER: LAYER}, fail_at={"prepare"})
    with pytest.raises(EngineError):
        AdapterSwapper(engine, Adapters(), Base(), Text(), classes("road"), InlineExecutor())


def test_adapters_that_do_not_load_are_remembered_until_the_library_changes(stage):
    stage.request(AdapterMix(("a", "torn"), (0.5, 0.5)))
    assert stage.swapper.commit_ready(1).load_ms == 0
    assert dict(stage.swapper.unusable) == {"torn": "adapter 'torn' is truncated"}
    stage.request(only("a"), library=Adapters())
    stage.swapper.commit_ready(2)
    assert not stage.swapper.unusable


def test_another_library_serves_from_the_swap_on_that_brings_it(later):
    new = Adapters()
    refused = later.request(only("a"), library=new)
    later.executor.run_all()
    assert refused.cancel()
    later.request(only("b"))
    later.executor.run_all()
    assert later.swapper.commit_ready(1).to_mix == only("b")
    assert new.read == ["a"]
    later.request(only("b"), library=new)
    later.executor.run_all()
    assert later.swapper.commit_ready(2).committed
    later.request(only("a"))
    later.executor.run_all()
    assert new.read == ["a", "b", "a"]


def test_equal_failures_of_swaps_are_logged_once_and_another_kind_at_once(stage, caplog):
    for _ in range(3):
        stage.request(only("torn"))
        stage.swapper.commit_ready(1)
    stage.engine.fail_at = {"commit"}
    stage.request(only("a"))
    stage.swapper.commit_ready(1)
    told = [r.getMessage() for r in caplog.records if "swap to" in r.getMessage()]
    assert ["truncated" in text for text in told] == [True, False]


def test_the_newest_of_waiting_requests_wins(later):
    futures = [later.request(only(name)) for name in ("a", "b", "a")]
    assert len(later.executor.jobs) == 1, "the background is woken once"
    for superseded in futures[:2]:
        event = superseded.result(0)
        assert not event.committed
        assert event.error.startswith("superseded by domain")
    later.executor.run_all()
    assert later.swapper.commit_ready(2).to_mix == only("a")
    assert futures[2].result(0).committed
    assert later.swapper.commit_ready(3) is None


def test_a_request_during_preparation_supersedes_it(later, monkeypatch):
    newer = []
    whole = later.engine._prepare_impl

    def interrupted(index, weight_set):
        if weight_set.mix == only("a"):
            newer.append(later.request(only("b"), reason="pinned"))
        whole(index, weight_set)

    monkeypatch.setattr(later.engine, "_prepare_impl", interrupted)
    older = later.request(only("a"))
    later.executor.run_all()
    assert "superseded by pinned" in older.result(0).error
    event = later.swapper.commit_ready(1)
    assert newer[0].result(0) is event
    assert event.committed
    assert later.serving() == only("b")


def test_a_request_after_preparation_and_before_commit_supersedes_it(later):
    older = later.request(only("a"))
    later.executor.run_all()
    newer = later.request(only("b"))
    assert later.swapper.commit_ready(1) is None
    assert later.serving() == AdapterMix.base_only()
    later.executor.run_all()
    assert later.swapper.commit_ready(2).to_mix == only("b")
    assert not older.result(0).committed
    assert newer.result(0).committed


def test_closing_answers_who_still_waits(later):
    waiting = later.request(only("a"))
    later.swapper.close()
    assert (waiting.result(0).stamp_ns, waiting.result(0).committed) == (0, False)
    assert "closed" in waiting.result(0).error
    later.executor.run_all()
    assert later.swapper.commit_ready(1) is None
    refused = later.request(only("b"), stamp_ns=9).result(0)
    assert (refused.stamp_ns, refused.error) == (9, "the swapper is closed")


@pytest.mark.parametrize("prepared", [False, True])
def test_a_withdrawn_request_is_never_published(later, prepared):
    withdrawn = later.request(only("a"))
    if prepared:
        later.executor.run_all()
    assert withdrawn.cancel()
    assert not later.swapper.busy
    assert later.swapper.target == AdapterMix.base_only()
    later.executor.run_all()
    assert later.swapper.commit_ready(1) is None
    assert later.serving() == AdapterMix.base_only()
    later.request(only("b"))
    later.executor.run_all()
    assert later.swapper.commit_ready(2).to_mix == only("b")


def test_a_withdrawn_request_ends_between_two_layers(later, monkeypatch):
    whole, seen = later.engine._prepare_impl, []

    def interrupted(index, weight_set):
        seen.append(weight_set.mix)
        whole(index, weight_set)

    monkeypatch.setattr(later.engine, "_prepare_impl", interrupted)
    encode = later.text.encode

    def withdrawing(*args, **kwargs):
        withdrawn.cancel()
        return encode(*args, **kwargs)

    monkeypatch.setattr(later.text, "encode", withdrawing)
    withdrawn = later.request(only("a"))
    later.executor.run_all()
    assert not seen


def test_what_is_published_cannot_be_withdrawn_and_takes_effect_before_the_answer(stage):
    future = stage.request(only("a"))
    seen = []
    event = stage.swapper.commit_ready(
        1, then=lambda event: seen.append((event, future.cancel(), future.done()))
    )
    assert seen == [(event, False, False)]
    assert future.result(0) is event


def test_what_fails_after_a_swap_keeps_nobody_waiting(stage):
    def broken(event):
        raise EngineError("no centroids")

    future = stage.request(only("a"))
    with pytest.raises(EngineError):
        stage.swapper.commit_ready(1, then=broken)
    assert future.result(0).committed
    assert not stage.swapper.busy


def test_requests_from_many_threads_all_get_an_answer_and_frames_one_whole_set():
    with ThreadPoolExecutor(1) as background, ThreadPoolExecutor(4) as users:
        stage = Stage(background)
        stop = threading.Event()
        expected = {}
        for mix in (AdapterMix.base_only(), only("a"), only("b")):
            stage.request(mix)
            while stage.swapper.commit_ready(0) is None:
                pass
            expected[mix] = stage.engine.infer(RGB, keep_logits=True).logits

        def ask(seed: int) -> list[Future]:
            order = np.random.default_rng(seed).choice(["a", "b", "torn"], 100)
            return [stage.request(only(str(name))) for name in order]

        jobs = [users.submit(ask, seed) for seed in range(4)]
        while not stop.is_set():
            stage.swapper.commit_ready(1)
            prediction = stage.engine.infer(RGB, keep_logits=True)
            np.testing.assert_array_equal(prediction.logits, expected[prediction.mix])
            if all(job.done() for job in jobs) and not stage.swapper.busy:
                stop.set()
        answers = [future.result(60) for job in jobs for future in job.result()]
    assert len(answers) == 400
    assert all(a.committed or "superseded" in a.error or "torn" in a.error for a in answers)
