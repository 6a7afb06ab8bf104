"""Sets prepared ahead: published only for a request that tolerates them, never by themselves."""

import importlib.util
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from semla_ros.answers import FRESH, PREFETCHED, RECURRING
from semla_ros.swap_request import RecentMixes
from semla_ros.types import BASE, AdapterMix


def _stage_module():
    path = Path(__file__).with_name("test_swap.py")
    spec = importlib.util.spec_from_file_location("semla_swap_stage", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STAGE = _stage_module()
Stage, LaterExecutor, Adapters = STAGE.Stage, STAGE.LaterExecutor, STAGE.Adapters
RGB, classes, only = STAGE.RGB, STAGE.classes, STAGE.only


def blend(a: float) -> AdapterMix:
    return AdapterMix(("a", "b"), (a, 1 - a))


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def later():
    return Stage(LaterExecutor())


def prepares(stage) -> list[AdapterMix]:
    """Record every mix that reaches the engine's idle slot."""
    seen, whole = [], stage.engine._prepare_impl

    def recording(index, weight_set):
        seen.append(weight_set.mix)
        whole(index, weight_set)

    stage.engine._prepare_impl = recording
    return seen


def test_a_prefetch_alone_publishes_nothing_and_reports_nothing(stage):
    before = stage.engine.infer(RGB, keep_logits=True).logits
    stage.swapper.prefetch(only("a"), tolerance=0.25)
    assert stage.swapper.spare == only("a")
    assert not stage.swapper.busy
    assert stage.swapper.target == stage.swapper.active == AdapterMix.base_only()
    for stamp in range(3):
        assert stage.swapper.commit_ready(stamp) is None
    np.testing.assert_array_equal(stage.engine.infer(RGB, keep_logits=True).logits, before)


def test_a_request_within_tolerance_gets_the_prepared_mix_at_once_and_says_so(later):
    later.swapper.prefetch(blend(0.5), tolerance=0.25)
    later.executor.run_all()
    seen = prepares(later)
    future = later.request(blend(0.6), tolerance=0.25)
    event = later.swapper.commit_ready(5)
    assert future.result(0) is event
    assert (event.committed, event.origin) == (True, PREFETCHED)
    assert event.to_mix == later.serving() == later.swapper.active == blend(0.5)
    assert event.deviation == pytest.approx(0.2)
    assert event.ready_ms == 0
    assert not seen
    later.executor.run_all()
    assert later.swapper.commit_ready(6) is None


@pytest.mark.parametrize(
    ("asked", "tolerance"), [(blend(0.7), 0.25), (blend(0.51), 0.0)], ids=["too far", "exact"]
)
def test_another_request_gets_what_it_asked_for(later, asked, tolerance):
    later.swapper.prefetch(blend(0.5), tolerance=0.25)
    later.executor.run_all()
    later.request(asked, tolerance=tolerance)
    assert later.swapper.commit_ready(1) is None
    later.executor.run_all()
    event = later.swapper.commit_ready(2)
    assert (event.to_mix, event.origin, event.deviation) == (asked, FRESH, 0)


def test_the_prepared_set_answers_as_if_it_had_been_asked_for(stage):
    stage.request(blend(0.5))
    stage.swapper.commit_ready(1)
    expected = stage.engine.infer(RGB, keep_logits=True).logits
    stage.request(only("a"))
    stage.swapper.commit_ready(2)
    stage.swapper.prefetch(blend(0.5), tolerance=0.1)
    stage.request(blend(0.5), tolerance=0.1)
    assert stage.swapper.commit_ready(3).origin == PREFETCHED
    np.testing.assert_array_equal(stage.engine.infer(RGB, keep_logits=True).logits, expected)


def test_a_request_joins_a_prefetch_under_way(later, monkeypatch):
    whole, futures = later.engine._prepare_impl, []

    def interrupted(index, weight_set):
        if not futures:
            futures.append(later.request(blend(0.55), tolerance=0.25))
        whole(index, weight_set)

    monkeypatch.setattr(later.engine, "_prepare_impl", interrupted)
    later.swapper.prefetch(blend(0.5), tolerance=0.25)
    later.executor.run_all()
    event = later.swapper.commit_ready(1)
    assert futures[0].result(0) is event
    assert (event.to_mix, event.origin) == (blend(0.5), PREFETCHED)
    assert event.ready_ms > 0


def test_a_request_ends_a_wrong_prefetch_between_two_layers(later, monkeypatch):
    seen, whole = prepares(later), later.text.encode

    def interrupted(vocabulary, weights, *, key=None):
        if key[1] == only("a"):
            later.request(only("b"))
        return whole(vocabulary, weights, key=key)

    monkeypatch.setattr(later.text, "encode", interrupted)
    later.swapper.prefetch(only("a"), tolerance=0.25)
    later.executor.run_all()
    assert seen == [only("b")]
    assert later.swapper.commit_ready(1).to_mix == only("b")


def test_a_prefetch_never_disturbs_a_request(later):
    later.request(only("a"))
    later.swapper.prefetch(only("b"), tolerance=0.25)
    assert later.swapper.spare is None
    later.executor.run_all()
    assert later.swapper.commit_ready(1).to_mix == only("a")


def test_a_failed_prefetch_is_silent_and_the_request_tries_itself(stage):
    stage.engine.fail_at = {"write"}
    stage.swapper.prefetch(only("a"), tolerance=0.25)
    assert stage.swapper.commit_ready(1) is None
    stage.engine.fail_at = ()
    stage.request(only("a"), tolerance=0.25)
    event = stage.swapper.commit_ready(2)
    assert (event.committed, event.origin) == (True, FRESH)


def test_a_guess_that_hardly_moved_is_not_prepared_again(stage):
    seen = prepares(stage)
    for share in (0.5, 0.53, 0.47, 0.5625, 0.8):  # half of 0.25 in sum |w - w'| is 0.5625
        stage.swapper.prefetch(blend(share), tolerance=0.25)
    assert seen == [blend(0.5), blend(0.8)]


def test_recent_mixes_are_the_last_to_serve_and_the_nearest_of_them_is_found():
    recent = RecentMixes(2)
    for share in (0.25, 0.5, 0.25, 0.75):  # 0.25 served again, so 0.5 is the oldest
        recent.add(blend(share))
    find = partial(recent.nearest, blend(0.5), other_than=only("a"))
    assert find(tolerance=0.4) is None
    assert find(tolerance=0.5) == blend(0.25)
    assert recent.nearest(blend(0.7), tolerance=2.0, other_than=only("a")) == blend(0.75)
    assert recent.nearest(blend(0.7), tolerance=2.0, other_than=blend(0.75)) == blend(0.25)
    assert find(tolerance=2.0, without={"b"}) is None
    recent.clear()
    assert find(tolerance=2.0) is None


def test_a_new_library_or_other_classes_make_a_prefetch_worthless(stage):
    stage.swapper.prefetch(only("a"), tolerance=0.25)
    stage.request(only("a"), tolerance=0.25, library=Adapters())
    assert stage.swapper.commit_ready(1).origin == FRESH
    stage.swapper.prefetch(only("b"), tolerance=0.25)
    stage.request(only("b"), tolerance=0.25, vocabulary=classes("car"), reason="vocabulary")
    event = stage.swapper.commit_ready(2)
    assert (event.origin, stage.engine.infer(RGB).vocabulary.names) == (FRESH, ("car",))


def test_a_mix_that_comes_again_is_the_one_that_served_before(stage):
    for mix in (blend(0.5), only("a")):
        stage.request(mix)
        stage.swapper.commit_ready(1)
    stage.request(blend(0.45), tolerance=0.25)
    event = stage.swapper.commit_ready(2)
    assert (event.to_mix, event.origin) == (blend(0.5), RECURRING)
    assert event.deviation == pytest.approx(0.1)
    keys = [key for _, _, key in stage.text.calls]
    assert keys[-1] == keys[1], "its text features have the key of the first time"
    for stamp, exact in enumerate((blend(0.45), blend(0.5)), start=3):
        stage.request(exact)
        event = stage.swapper.commit_ready(stamp)
        assert (event.to_mix, event.origin) == (exact, FRESH), "no tolerance, nothing else"


def test_a_new_library_forgets_what_served_under_the_old_one(stage):
    for mix in (blend(0.5), only("a")):
        stage.request(mix)
        stage.swapper.commit_ready(1)
    stage.request(only("a"), library=Adapters())
    assert stage.swapper.commit_ready(2).committed
    stage.request(blend(0.45), tolerance=0.25)
    event = stage.swapper.commit_ready(3)
    assert (event.to_mix, event.origin) == (blend(0.45), FRESH), "the old mix may not exist now"


def test_the_tolerance_itself_is_near_enough(stage):
    for mix in (blend(0.5), only("a")):
        stage.request(mix)
        stage.swapper.commit_ready(1)
    stage.request(blend(0.375), tolerance=0.25)
    assert stage.swapper.commit_ready(2).origin == RECURRING
    stage.swapper.prefetch(only("b"), tolerance=0.25)
    stage.request(blend(0.125), tolerance=0.25)
    event = stage.swapper.commit_ready(3)
    assert (event.origin, event.deviation) == (PREFETCHED, 0.25)


def test_the_mix_that_serves_is_no_answer_to_a_request_for_another(stage):
    stage.request(blend(0.5))
    stage.swapper.commit_ready(1)
    stage.request(blend(0.55), tolerance=0.25)
    assert stage.swapper.commit_ready(2).to_mix == blend(0.55)


def test_no_near_mix_brings_back_an_adapter_that_may_not_serve(stage):
    for mix in (blend(0.5), only("a")):
        stage.request(mix)
        stage.swapper.commit_ready(1)
    wanted = AdapterMix.from_weights({"a": 0.45, BASE: 0.55})
    stage.request(wanted, tolerance=2.0, without={"b"})
    assert stage.swapper.commit_ready(2).to_mix == wanted
    stage.swapper.prefetch(blend(0.7), tolerance=0.0)
    stage.request(only("a"), tolerance=2.0, without={"b"})
    assert stage.swapper.commit_ready(3).to_mix == only("a")


def test_no_prefetch_brings_back_an_adapter_that_may_not_serve(stage):
    seen = prepares(stage)
    for mix in (blend(0.9), only("b")):
        stage.request(mix)
        stage.swapper.commit_ready(1)
    stage.swapper.prefetch(only("a"), tolerance=0.25, without=("b",))
    assert seen[-1] == only("a")
    stage.swapper.prefetch(blend(0.95), tolerance=0.25)
    assert seen[-1] == only("a"), "that is near enough still"


def test_closing_forgets_a_prefetch(later):
    later.swapper.prefetch(only("a"), tolerance=0.25)
    later.swapper.close()
    later.executor.run_all()
    assert later.swapper.commit_ready(1) is None
    later.swapper.prefetch(only("b"), tolerance=0.25)
    assert not later.executor.jobs


def test_requests_and_prefetches_from_many_threads_serve_only_what_was_asked_for():
    """Whatever races: each frame has one whole set, and it is near a mix somebody requested."""
    with ThreadPoolExecutor(1) as background, ThreadPoolExecutor(3) as users:
        stage = Stage(background)
        rng = np.random.default_rng(0)
        stop = threading.Event()

        def guess() -> None:
            while not stop.is_set():
                stage.swapper.prefetch(blend(float(rng.uniform())), tolerance=0.25)

        def ask(seed: int) -> list:
            shares = np.random.default_rng(seed).uniform(size=100)
            return [stage.request(blend(float(s)), tolerance=0.25) for s in shares]

        guessing = users.submit(guess)
        jobs = [users.submit(ask, seed) for seed in range(2)]
        frames: dict[AdapterMix, np.ndarray] = {}
        while not all(job.done() for job in jobs) or stage.swapper.busy:
            stage.swapper.commit_ready(1)
            prediction = stage.engine.infer(RGB, keep_logits=True)
            first = frames.setdefault(prediction.mix, prediction.logits)
            np.testing.assert_array_equal(prediction.logits, first)
        stop.set()
        guessing.result()
        answers = [future.result(60) for job in jobs for future in job.result()]
    assert len(answers) == 200
    assert all(a.committed or "superseded" in a.error for a in answers)
    published = {a.to_mix for a in answers if a.committed}
    assert set(frames) <= published | {AdapterMix((BASE,), (1.0,))}
    assert all(a.deviation <= 0.25 for a in answers if a.committed)
