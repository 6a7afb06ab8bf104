"""The rerun decides from stored embeddings what the pipeline decided from frames."""

from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.answers import known
from semla_ros.core.config import Config, updated
from semla_ros.core.types import BASE, Frame
from semla_ros.evaluation.analysis.rerun import rerun, without
from semla_ros.evaluation.study.study import GATED
from semla_ros.library.library import AdapterLibrary
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.pipeline import build_pipeline
from semla_ros.pipeline.library_view import bank_of
from semla_ros.pipeline.settings import LiveSettings

STEP_NS = 200_000_000


def changing_frames(count):
    """Frames whose colour changes twice, so that the mix does too."""
    rng = np.random.default_rng(3)
    colors = rng.integers(0, 256, (3, 3))
    for i in range(count):
        noise = rng.integers(0, 40, (32, 48, 3))
        rgb = np.clip(colors[3 * i // count] + noise, 0, 255).astype(np.uint8)
        yield Frame(i * STEP_NS, "camera", rgb)


@pytest.mark.parametrize(
    "change",
    [{}, {"swap_policy": "always"}, {"ema_time_s": 0.0, "top_k": 1, "min_dwell_s": 0.0}],
)
def test_it_decides_as_the_pipeline_did(tiny, made, change):
    changes = {"bundle": str(tiny.root), "adaptation": "inline", "engine": "fake", **change}
    config = updated(Config(), changes)
    encoder = OnnxImageEncoder(tiny, threads=1)
    frames = list(changing_frames(30))
    with build_pipeline(config) as pipeline:
        answers = [pipeline.step(frame) for frame in frames]
        library = pipeline.library
    recording = replace(
        made.recording("a", ("a",) * 30, np.ones(30), np.ones(30)),
        embeddings=np.stack([encoder.encode(f.rgb) for f in frames]),
        stamps_ns=np.array([f.stamp_ns for f in frames]),
    )
    settings = LiveSettings.of(config, tiny.manifest.defaults)
    bank = bank_of(library, distance=settings.distance)
    again = rerun(recording, library, bank, settings=settings)
    columns = {name: i for i, name in enumerate((*library.names, BASE))}
    for row, swapped, answer in zip(again.weights, again.swapped, answers, strict=True):
        mix = dict(zip(answer.mix.names, answer.mix.weights, strict=True))
        for name, column in columns.items():
            assert row[column] == pytest.approx(mix.get(name, 0.0), abs=1e-6)
        assert swapped == any(s.committed for s in answer.swaps)
    readings = [known(a.support) for a in answers]
    scores = [np.nan if r is None else r.smoothed for r in readings]
    np.testing.assert_allclose(again.smoothed, scores, rtol=1e-9)
    assert again.swapped.any(), "the test must see a swap"
    assert GATED in recording.results


def test_a_bank_without_a_name_keeps_the_rest(tiny):
    library = AdapterLibrary.of(tiny)
    bank = bank_of(library, distance="euclidean")
    fewer = without(bank, [bank.names[0]])
    assert fewer.names == bank.names[1:]
    np.testing.assert_array_equal(fewer.centroids, bank.centroids[1:])
