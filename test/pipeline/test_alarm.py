"""Which threshold of novelty is in force: what is asked for, the library's, the bundle's, none."""

import logging
import math
from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.config import updated
from semla_ros.core.novelty import EmbeddingSample, NoveltyAlarm
from semla_ros.evaluation.study.gate import GateReplay
from semla_ros.library.statistics import read_statistics
from semla_ros.pipeline.library_view import bank_of
from semla_ros.pipeline.settings import LiveSettings
from semla_ros.prepare.adapters.changes import remove_adapter
from semla_ros.prepare.adapters.write import write_statistics

DOMAINS = ("blue", "green", "red")


def embed(world, name, count):
    """Give a domain's statistics a sample, as `semla library embed` does."""
    folder = world.root / "library" / name
    statistics = read_statistics(folder, name)
    noise = np.random.default_rng(len(name)).normal(0, 8.0, (count, 3))
    rows = (statistics.centroid + noise).astype(np.float32)
    sample = EmbeddingSample(rows, np.arange(count) * 3 // count, count)
    write_statistics(folder, name, replace(statistics, sample=sample))


@pytest.fixture
def sampled(world):
    for name in DOMAINS:
        embed(world, name, 60)
    return world


def settings(world, **changes):
    with world.pipeline() as pipeline:
        config = updated(pipeline.config, changes)
    return LiveSettings.of(config, world.bundle.manifest.defaults)


def test_the_library_says_and_what_is_asked_for_comes_first(sampled):
    alarm = bank_of(sampled.library(), distance="euclidean").alarm
    assert 2.0 < alarm.threshold < 20.0
    assert settings(sampled).threshold(alarm) == alarm.threshold
    assert settings(sampled, out_of_library=7.5).threshold(alarm) == 7.5


def test_the_bundle_speaks_for_a_library_without_samples(world):
    bank = bank_of(world.library(), distance="euclidean")
    assert bank.alarm is None
    assert settings(world).threshold(bank.alarm) == 150.0
    silent = replace(world.bundle.manifest.defaults, out_of_library=0.0)
    live = LiveSettings.of(settings(world).config, silent)
    assert "semla library embed" in live.silence(bank.alarm)
    assert live.silence(NoveltyAlarm(3.0, "")) == ""


def test_a_library_that_grows_drops_its_old_threshold_and_says_so(sampled, make_frames, caplog):
    embed(sampled, "green", 20)
    caplog.set_level(logging.WARNING)
    with sampled.pipeline() as pipeline:
        results = [pipeline.step(f) for f in make_frames("red", "red", "grey", "grey")]
        assert "20 images of domain 'green' for 3 dimensions, needs 50" in pipeline.health.no_alarm
        assert "20 images of domain 'green'" in caplog.text
        assert results[-1].support.level != "OUT_OF_LIBRARY"
        assert math.isfinite(results[-1].support.novelty)
        embed(sampled, "green", 60)
        pipeline.reload_library()
        results = [pipeline.step(f) for f in make_frames(*["grey"] * 4, start=4)]
        assert pipeline.health.no_alarm == ""
    assert results[-1].support.level == "OUT_OF_LIBRARY"


def test_an_empty_library_knows_nothing(world):
    library = world.library()
    for name in DOMAINS:
        library = remove_adapter(library, name)
    bank = bank_of(library, distance="euclidean")
    assert settings(world).threshold(bank.alarm) > 1e300


def test_a_replay_judges_as_the_pipeline_does(sampled, make_frames):
    frames = make_frames("red", "red", "grey", "grey", "blue", "blue", "blue")
    with sampled.pipeline() as pipeline:
        lived = [pipeline.step(frame).support for frame in frames]
    library = sampled.library()
    live = settings(sampled)
    gate = GateReplay(library, bank_of(library, distance=live.distance), live)
    embeddings = [sampled.encoder.encode(frame.rgb) for frame in frames]
    steps = [gate.step(f.stamp_ns, e) for f, e in zip(frames, embeddings, strict=True)]
    told = [(s.novelty, s.level) for s in lived if math.isfinite(s.novelty)]
    read = [step.support for step in steps if step.support is not None]
    again = [(s.novelty, s.level) for s in read if math.isfinite(s.novelty)]
    assert len(told) == len(frames) - 1
    assert told == again
    assert {level for _, level in told} >= {"OK", "OUT_OF_LIBRARY"}
