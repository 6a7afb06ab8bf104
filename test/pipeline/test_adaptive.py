import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.errors import (
    ConfigError,
    EngineError,
    FrameError,
    LibraryError,
)
from semla_ros.core.executors import InlineExecutor
from semla_ros.core.types import AdapterMix, Frame


def only(name: str) -> AdapterMix:
    return AdapterMix((name,), (1.0,))


def run(pipeline, frames):
    return [pipeline.step(frame) for frame in frames]


def mixes(results):
    return [result.mix.names[0] for result in results]


def world_config(pipeline, **changes):
    from semla_ros.core.config import updated

    return updated(pipeline.config, changes)


def test_it_follows_the_domain_one_frame_behind(world, make_frames):
    with world.pipeline() as pipeline:
        results = run(pipeline, make_frames("red", "red", "red", "blue", "blue", "blue"))
    assert mixes(results) == ["base", "red", "red", "red", "blue", "blue"]
    swaps = [swap for result in results for swap in result.swaps]
    assert [(s.from_mix.names[0], s.to_mix.names[0], s.reason) for s in swaps] == [
        ("base", "red", "domain"),
        ("red", "blue", "domain"),
    ]
    assert [len(result.swaps) for result in results] == [0, 1, 0, 0, 1, 0]
    assert results[1].swaps[0].stamp_ns == results[1].stamp_ns


def test_a_result_says_everything_about_its_frame(world, make_frames):
    (frame,) = make_frames("red", size=(30, 50))
    with world.pipeline() as pipeline:
        pipeline.step(frame)
        result = pipeline.step(Frame(5, "front", frame.rgb))
        assert (result.stamp_ns, result.frame_id) == (5, "front")
        assert result.labels.shape == result.confidence.shape == (30, 50)
        assert result.vocabulary.names == ("road", "sky")
        assert result.support.nearest == "red"
        assert result.support.level == "OK"
        assert result.support.observed_ns == 0
        assert result.estimate.names == ("blue", "green", "red")
        assert {"adapt", "commit", "infer", "observe", "restore"} <= result.timings_ms.keys()


def test_output_may_stay_at_network_size(world, make_frames):
    with world.pipeline(output_size="model") as pipeline:
        (result,) = run(pipeline, make_frames("red"))
    assert result.labels.shape == world.engine.facts.size


def test_two_runs_over_the_same_frames_give_the_same_bytes(world, make_frames):
    frames = make_frames(*(["red"] * 4 + ["blue"] * 5 + ["green"] * 3 + ["grey"] * 2))

    def once():
        with world.pipeline(ema_time_s=0.3, trigger_consecutive=2, top_k=3) as pipeline:
            return run(pipeline, frames)

    for first, second in zip(once(), once(), strict=True):
        assert first.labels.tobytes() == second.labels.tobytes()
        assert first.confidence.tobytes() == second.confidence.tobytes()
        assert (first.mix, first.support) == (second.mix, second.support)
        assert [s.to_mix for s in first.swaps] == [s.to_mix for s in second.swaps]


def test_debounce_reports_how_long_it_took(world, make_frames):
    with world.pipeline(trigger_consecutive=3) as pipeline:
        results = run(pipeline, make_frames(*["red"] * 6))
    assert mixes(results) == ["base"] * 3 + ["red"] * 3
    assert results[3].swaps[0].detection_ms == pytest.approx(200)


def test_far_from_everything_is_out_of_library(world, make_frames):
    grey = Frame(0, "camera", np.full((8, 8, 3), 255, np.uint8))
    with world.pipeline() as pipeline:
        pipeline.step(grey)
        assert pipeline.step(grey).support.level == "OUT_OF_LIBRARY"


def test_the_navigator_runs_at_its_own_rate_of_sensor_time(world, make_frames):
    frames = make_frames(*["red"] * 61, period_ns=33_333_333)
    with world.pipeline(navigator_rate_hz=5.0) as pipeline:
        run(pipeline, frames)
    assert world.encoder.seen == pytest.approx(11, abs=1)


def test_backward_time_starts_the_filter_anew_and_keeps_the_mix(world, make_frames):
    config = {"ema_time_s": 30.0, "trigger_consecutive": 2, "max_gap_s": 0.45}
    with world.pipeline(**config) as pipeline:
        run(pipeline, make_frames(*["red"] * 6))
        assert pipeline.active == only("red")
        first_again = pipeline.step(make_frames("blue")[0])
        assert first_again.mix == only("red")
        assert first_again.support.level == "STALE", "a wild stamp, or a loop?"
        second, third = run(pipeline, make_frames("blue", "blue", start=1))
        assert second.support.level == "STALE", "a loop: nothing was seen yet"
        assert second.estimate is None
        np.testing.assert_array_equal(third.estimate.embedding, third.estimate.raw_embedding)
        assert (third.support.nearest, third.support.level) == ("blue", "OK")


def test_late_frames_change_nothing_of_what_was_seen(world, make_frames):
    """Two cameras on one topic, one of them behind: neither filter nor debounce starts anew."""
    config = {"trigger_consecutive": 6, "ema_time_s": 0.2, "navigator_rate_hz": 0.0}
    with world.pipeline(**config) as pipeline:
        frames = make_frames(*["red"] * 20)
        late = [replace(f, stamp_ns=f.stamp_ns - 150_000_000) for f in frames]
        both = [f for pair in zip(frames, late, strict=True) for f in pair]
        results = run(pipeline, both)
    assert pipeline.active == only("red")
    assert "STALE" not in {r.support.level for r in results[1:]}
    assert world.encoder.seen == 20


def test_zero_stamps_adapt_by_arrival_time(world, make_frames):
    frames = make_frames(*["red"] * 6, *["blue"] * 6)
    with world.pipeline(trigger_consecutive=2) as pipeline:
        results = run(
            pipeline,
            [replace(f, stamp_ns=0, arrival_ns=f.stamp_ns + 10**9) for f in frames],
        )
        assert "header stamps are empty" in pipeline.health.stamps.unusable
    assert mixes(results)[5] == "red"
    assert mixes(results)[-1] == "blue"
    assert results[-1].support.age_s == pytest.approx(0.1)
    assert {r.stamp_ns for r in results} == {0}, "the header stays as it is"


@pytest.mark.parametrize("clock", ["sensor", "machine"])
def test_an_old_observation_is_stale_by_either_clock(world, make_frames, clock):
    """The navigator saw one frame and never answers again; the masks go on."""
    hang = threading.Event()
    with ThreadPoolExecutor(1) as navigate:
        pipeline = world.pipeline(
            InlineExecutor(), navigate, adaptation="background", support_max_age_s=0.5
        )
        run(pipeline, make_frames("red"))
        navigate.submit(lambda: None).result(30)
        assert run(pipeline, make_frames("red", start=1))[0].support.level == "OK"
        world.encoder.error, world.encoder.hang = None, hang
        if clock == "sensor":
            later = run(pipeline, make_frames(*["red"] * 8, start=2))
        else:
            time.sleep(0.6)
            later = run(pipeline, [replace(make_frames("red")[0], stamp_ns=100_000_001)])
        hang.set()
        pipeline.close()
    last = later[-1].support
    assert (last.level, last.score, last.miou_lower) == ("STALE", 0.0, 0.0)
    assert last.age_s > 0.5


def test_the_oldest_age_that_is_fresh_is_a_boundary(world, make_frames):
    with world.pipeline(support_max_age_s=0.2, navigator_rate_hz=0.1) as pipeline:
        levels = [r.support.level for r in run(pipeline, make_frames(*["red"] * 4))]
    assert levels == ["STALE", "OK", "OK", "STALE"]


def test_the_first_mask_after_a_pause_is_stale(world, make_frames):
    with world.pipeline(stale_timeout_s=0.5) as pipeline:
        run(pipeline, make_frames("red", "red"))
        first, second = run(pipeline, make_frames("red", "red", start=8))
    assert (first.support.level, second.support.level) == ("STALE", "OK")


def test_the_first_mask_after_an_interruption_that_stamps_do_not_show_is_stale(world, make_frames):
    with world.pipeline() as pipeline:
        run(pipeline, make_frames("red", "red"))
        assert pipeline.interrupted() == 0, "the stamp of the frame that was seen"
        first, second = run(pipeline, make_frames("red", "red", start=2))
    assert (first.support.level, second.support.level) == ("STALE", "OK")


def test_a_navigator_that_fails_makes_support_stale_and_says_why(world, make_frames):
    with world.pipeline(support_max_age_s=0.3) as pipeline:
        run(pipeline, make_frames("red", "red"))
        world.encoder.error = RuntimeError("out of memory")
        results = run(pipeline, make_frames(*["blue"] * 8, start=2))
        assert results[-1].support.level == "STALE"
        assert "out of memory" in pipeline.health.navigator_error
        world.encoder.error = None
        results = run(pipeline, make_frames(*["blue"] * 3, start=10))
        assert (results[-1].support.level, pipeline.health.navigator_error) == ("OK", "")


def test_a_navigator_that_fails_is_said_to_fail_until_it_works(world, make_frames):
    """Also before the frames between two attempts, at which there is nothing to collect."""
    with world.pipeline(navigator_rate_hz=2.0) as pipeline:
        world.encoder.error = RuntimeError("out of memory")
        told = []
        for frame in make_frames(*["red"] * 12):
            pipeline.step(frame)
            told.append(pipeline.health.navigator_error)
        assert all("out of memory" in error for error in told[1:])
        world.encoder.error = None
        run(pipeline, make_frames(*["red"] * 8, start=12))
        assert pipeline.health.navigator_error == ""


def test_excluding_the_active_adapter_swaps_away_at_the_next_observation(world, make_frames):
    config = {"trigger_consecutive": 3, "min_dwell_s": 3600.0}
    with world.pipeline(**config) as pipeline:
        run(pipeline, make_frames(*["red"] * 6))
        assert pipeline.active == only("red")
        pipeline.configure(world_config(pipeline, exclude="red"))
        results = run(pipeline, make_frames("red", "red", start=6))
        assert pipeline.config.exclude == "red"
        assert mixes(results)[-1] in ("blue", "green")
        pipeline.configure(world_config(pipeline, exclude="red,green,blue"))
        assert mixes(run(pipeline, make_frames("red", "red", start=8)))[-1] == "base"


def test_live_parameters_change_without_forgetting_the_stream(world, make_frames):
    with world.pipeline(ema_time_s=30.0) as pipeline:
        run(pipeline, make_frames(*["red"] * 4))
        before = pipeline.step(make_frames("red", start=4)[0]).estimate
        pipeline.configure(world_config(pipeline, distance="cosine", support_low=1e5))
        after = pipeline.step(make_frames("red", start=5)[0])
        assert after.estimate.distances.max() <= 2 < before.distances.max()
        np.testing.assert_allclose(after.estimate.embedding, before.embedding, atol=1)
        assert after.support.level == "LOW"
        pipeline.configure(world_config(pipeline, distance="euclidean"))
        pipeline.configure(world_config(pipeline, distance="cosine"))
        assert pipeline.step(make_frames("red", start=6)[0]).estimate.distances.max() <= 2


def test_another_distance_makes_support_stale_until_it_is_measured(world, make_frames):
    with world.pipeline(navigator_rate_hz=0.5) as pipeline:
        assert run(pipeline, make_frames("red", "red"))[-1].support.level == "OK"
        pipeline.configure(world_config(pipeline, distance="cosine", support_low=0.1))
        assert run(pipeline, make_frames("red", start=2))[-1].support.level == "STALE"


@pytest.mark.parametrize("slow_hz", [1e-300, 1e-9, 0.001])
def test_a_slow_navigator_is_slow_no_longer_than_it_is_asked_to_be(world, make_frames, slow_hz):
    with world.pipeline() as pipeline:
        pipeline.configure(world_config(pipeline, navigator_rate_hz=slow_hz))
        run(pipeline, make_frames("red", "red", "red"))
        assert world.encoder.seen == 1
        pipeline.configure(world_config(pipeline, navigator_rate_hz=120.0))
        run(pipeline, make_frames("red", "red", start=3))
        assert world.encoder.seen == 3


def test_a_change_that_cannot_be_is_refused_and_changes_nothing(world, make_frames):
    with world.pipeline() as pipeline:
        with pytest.raises(ConfigError, match="threads"):
            pipeline.configure(world_config(pipeline, threads=3))
        with pytest.raises(LibraryError, match="mahalanobis"):
            pipeline.configure(world_config(pipeline, distance="mahalanobis"))
        run(pipeline, make_frames("red", "red"))
        assert pipeline.config.distance == "bundle"


def test_the_policies_never_and_always(world, make_frames):
    colors = ("red", "blue", "red", "blue")
    with world.pipeline(swap_policy="never") as pipeline:
        assert mixes(run(pipeline, make_frames(*colors))) == ["base"] * 4
        pipeline.configure(world_config(pipeline, swap_policy="always"))
        results = run(pipeline, make_frames(*colors, start=4))
        assert mixes(results) == ["blue", "red", "blue", "red"]


def test_a_failing_navigator_is_counted_and_logged_once(world, make_frames, caplog):
    with world.pipeline() as pipeline:
        world.encoder.error = FrameError("no finite embedding")
        results = run(pipeline, make_frames(*["red"] * 5))
        assert pipeline.health.errors == {"navigator": 4}
        assert mixes(results) == ["base"] * 5
        assert sum("no finite embedding" in r.getMessage() for r in caplog.records) == 1
        world.encoder.error = None
        assert mixes(run(pipeline, make_frames(*["red"] * 3, start=5)))[-1] == "red"


def test_an_unexpected_failure_of_the_navigator_does_not_stop_masks(world, make_frames, caplog):
    with world.pipeline() as pipeline:
        world.encoder.error = ZeroDivisionError("bug")
        assert len(run(pipeline, make_frames(*["red"] * 5))) == 5
        assert pipeline.health.errors == {"navigator": 4}
        assert sum("bug" in r.getMessage() for r in caplog.records) == 1
        assert sum(r.exc_info is not None and r.levelno > 10 for r in caplog.records) == 0


def test_a_damaged_adapter_is_reported_and_then_left_out(world, make_frames):
    with world.pipeline() as pipeline:
        (world.root / "library" / "red" / "adapter_model.safetensors").write_bytes(b"torn")
        pipeline.library._memory.clear()
        results = run(pipeline, make_frames(*["red"] * 6))
    swaps = [swap for result in results for swap in result.swaps]
    assert [swap.committed for swap in swaps[:2]] == [False, True]
    assert "red" in swaps[0].error
    assert all(swap.committed and "red" not in swap.to_mix.names for swap in swaps[1:])
    assert mixes(results)[-1] in ("blue", "green")


def test_a_frame_the_engine_fails_on_is_counted_and_the_next_one_works(world, make_frames):
    with world.pipeline() as pipeline:
        pipeline.pin(only("red"))
        world.engine.fail_at = {"infer"}
        with pytest.raises(EngineError, match="infer"):
            pipeline.step(make_frames("red")[0])
        world.engine.fail_at = ()
        assert pipeline.health.errors == {"infer": 1}
        result = pipeline.step(make_frames("red", start=1)[0])
        assert result.mix == only("red")
        assert [s.reason for s in result.swaps] == ["pinned"], "the swap event must not be lost"


def test_an_empty_library_serves_the_base(world, make_frames):
    shutil.rmtree(world.root / "library")
    (world.root / "library").mkdir()
    with world.pipeline() as pipeline:
        results = run(pipeline, make_frames("red", "red", "blue"))
        assert mixes(results) == ["base"] * 3
        assert results[-1].support.level == "OUT_OF_LIBRARY"
        assert pipeline.health.errors == {}


def test_without_a_navigator_only_explicit_mixes(world, make_frames):
    blind = type(world)(world.root, navigator=False)
    with blind.pipeline() as pipeline:
        results = run(pipeline, make_frames("red", "red"))
        assert mixes(results) == ["base", "base"]
        assert results[-1].support is None
        assert pipeline.interrupted() == 0
        pipeline.pin(only("red"))
        assert mixes(run(pipeline, make_frames("red", start=2))) == ["red"]
