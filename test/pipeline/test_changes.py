"""Another distance: what it needs is computed aside, and nothing that it shares with the last."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from semla_ros.core.errors import LibraryError
from semla_ros.core.executors import InlineExecutor
from semla_ros.library.statistics import DomainStatistics
from semla_ros.pipeline import library_view
from semla_ros.prepare.adapters.write import write_statistics


@pytest.fixture
def spread(world):
    """A world whose domains know how they spread, from enough images."""
    for folder in (world.root / "library").iterdir():
        centroid = np.asarray(world.library().statistics[folder.name].centroid)
        known = DomainStatistics(centroid, 600, np.eye(3), world.encoder.identity)
        write_statistics(folder, folder.name, known)
    return world


@pytest.fixture
def computed(monkeypatch):
    """Threads on which alarm, spread and precisions were computed, by what it was."""
    found = {"library_alarm": [], "_spread": [], "mahalanobis_precisions": []}
    for name, threads in found.items():
        real = getattr(library_view, name)

        def noted(*args, real=real, threads=threads, **options):
            threads.append(threading.current_thread())
            return real(*args, **options)

        monkeypatch.setattr(library_view, name, noted)
    return found


def see(pipeline, frames):
    return [pipeline.step(frame) for frame in frames][-1]


def until(pipeline, done):
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end
        pipeline.poll(1)


def test_only_what_the_distance_needs_is_computed(spread, make_frames, make_config, computed):
    with spread.pipeline() as pipeline:
        bank = pipeline.adaptation.observer.navigator.bank
        for threads in computed.values():
            threads.clear()
        measured = []
        for distance in ("cosine", "mahalanobis", "euclidean"):
            pipeline.configure(make_config(distance=distance))
            result = see(pipeline, make_frames("red", "red", start=10 * len(measured)))
            measured.append(result.estimate.distances.max())
            assert pipeline.config.distance == distance
        after = pipeline.adaptation.observer.navigator.bank
    assert measured[0] < 2 < measured[2]
    assert [len(threads) for threads in computed.values()] == [0, 0, 1]
    assert after.whitening is bank.whitening
    assert after.alarm is bank.alarm
    assert after.precisions is None


def test_what_takes_long_is_prepared_aside_and_nothing_else_waits(
    spread, make_frames, make_config, computed
):
    gate = threading.Event()
    with ThreadPoolExecutor(1) as swap:
        pipeline = spread.pipeline(swap, InlineExecutor(), adaptation="background")
        see(pipeline, make_frames("red", "red"))
        swap.submit(gate.wait, 30)
        config = {"adaptation": "background", "distance": "mahalanobis"}
        pipeline.configure(make_config(**config))
        pipeline.configure(make_config(**config, exclude="red"))
        result = see(pipeline, make_frames("red", start=2))
        assert result.support.level != "STALE"
        assert (pipeline.config.distance, pipeline.config.exclude) == ("bundle", "red")
        gate.set()
        until(pipeline, lambda: pipeline.config.distance == "mahalanobis")
        assert pipeline.config.exclude == "red"
        assert see(pipeline, make_frames("red", "red", start=3)).estimate is not None
        pipeline.close()
    assert len(computed["mahalanobis_precisions"]) == 1
    assert threading.current_thread() not in computed["mahalanobis_precisions"]


def test_a_distance_that_is_taken_back_meanwhile_never_counts(spread, make_config, computed):
    gate = threading.Event()
    with ThreadPoolExecutor(1) as swap:
        pipeline = spread.pipeline(swap, InlineExecutor(), adaptation="background")
        swap.submit(gate.wait, 30)
        for distance in ("mahalanobis", "bundle"):
            pipeline.configure(make_config(adaptation="background", distance=distance))
            pipeline.poll(1)
        gate.set()
        swap.submit(int).result(30)
        pipeline.poll(1)
        assert pipeline.config.distance == "bundle"
        pipeline.close()
    assert not computed["mahalanobis_precisions"], "withdrawn before it began"


def test_a_distance_the_library_has_not_enough_images_for_is_refused_at_once(world, make_config):
    with world.pipeline() as pipeline:
        with pytest.raises(LibraryError, match="at least 500 images"):
            pipeline.configure(make_config(distance="mahalanobis"))
        pipeline.poll(1)
        assert pipeline.config.distance == "bundle"


def test_a_distance_that_fails_after_all_leaves_the_last_one(
    spread, make_frames, make_config, monkeypatch, caplog
):
    def fail(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr(library_view, "mahalanobis_precisions", fail)
    monkeypatch.setattr("semla_ros.pipeline.changes.check_distance", lambda *_: None)
    with spread.pipeline() as pipeline:
        pipeline.configure(make_config(distance="mahalanobis", exclude="red"))
        result = see(pipeline, make_frames(*["red"] * 4))
        assert (pipeline.config.distance, pipeline.config.exclude) == ("bundle", "red")
        assert result.support.level != "STALE"
    assert caplog.text.count("distance 'mahalanobis' is not in force: no room") == 1


@pytest.mark.parametrize("distance", ["cosine", "mahalanobis"])
def test_a_reload_under_way_is_measured_as_it_was_read(
    spread, make_frames, make_config, computed, distance
):
    """Neither the library on its way nor the distance is computed anew by the frame loop."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as swap:
        pipeline = spread.pipeline(swap, InlineExecutor(), adaptation="background")
        for threads in computed.values():
            threads.clear()
        (spread.root / "library" / "red").rename(spread.root / "library" / ".away")
        swap.submit(gate.wait, 30)
        future = pipeline.reload_library()
        pipeline.configure(make_config(adaptation="background", distance=distance))
        see(pipeline, make_frames("red", "red"))
        assert pipeline.config.distance == "bundle"
        gate.set()
        until(pipeline, lambda: pipeline.config.distance == distance)
        assert future.result(0).committed
        result = see(pipeline, make_frames("red", "red", start=2))
        assert set(result.estimate.names) == {"blue", "green"}
        pipeline.close()
    threads = [each for threads in computed.values() for each in threads]
    assert threads
    assert threading.current_thread() not in threads
