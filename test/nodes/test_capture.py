"""Which frames the node keeps, and with what; the loop of the frames never waits for it."""

import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.config import Config
from semla_ros.core.types import Frame
from semla_ros.data.captures import ring
from semla_ros.data.captures.folder import read_captures
from semla_ros.data.captures.ring import CaptureRing
from semla_ros.nodes.capture import CAPTURING, FAILING, OFF, Capture
from semla_ros.pipeline import build_pipeline

ALWAYS_LOW = {
    "support_low": 1e6,
    "out_of_library": 1e6,
    "navigator_rate_hz": 0.0,
    "ema_time_s": 0.0,
}
STEP_NS = 200_000_000


def frame(i, value):
    rng = np.random.default_rng(i)
    rgb = np.full((24, 40, 3), value, np.uint8)
    rgb[:12] = rng.integers(0, 256, (12, 40, 3))
    return Frame((i + 1) * STEP_NS, "camera", rgb)


@pytest.fixture
def run(small, tmp_path):
    """Return a function that runs frames through a pipeline that captures."""

    def run(frames, *, background=False, wait_s=5.0, **changes):
        settings = {"capture_dir": str(tmp_path / "captures"), "capture_period_s": 0.0}
        kind = "background" if background else "inline"
        settings |= {"bundle": str(small), "engine": "onnx", "adaptation": kind} | changes
        config = Config(**settings)
        with build_pipeline(config) as pipeline:
            capture, answers = Capture(pipeline, lambda: config), {}
            for each in frames:
                answers[each.stamp_ns] = pipeline.step(each)
                if background:
                    settle(lambda: ready(pipeline.adaptation.observer))
                capture.saw(each, answers[each.stamp_ns])
                settle(lambda: capture._worker is None or idle(capture), wait_s)
            report = capture.report()
            assert capture.stop(patience_s=10.0)
        return report, answers

    return run


def ready(observer):
    return observer.observing is None or observer.ready


def idle(capture):
    report = capture._worker.report()
    mailbox = capture._worker._mailbox
    return report.busy_s == 0 and mailbox._item is None


def settle(condition, within_s=5.0):
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)


@pytest.mark.parametrize("background", [False, True])
def test_a_frame_is_kept_with_its_own_embedding_and_mask(run, small, tmp_path, background):
    """The embedding of a frame comes frames later, when another image and mask are at hand."""
    frames = [frame(i, v) for i, v in enumerate((10, 60, 110, 160, 210, 250))]
    report, answers = run(frames, background=background, capture_spread=0.0, **ALWAYS_LOW)
    found = read_captures(tmp_path / "captures")
    assert not found.problems
    assert report.state == CAPTURING
    assert report.frames == report.kept == len(found.captures) == len(frames) - 1
    by_stamp = {f.stamp_ns: f for f in frames}
    with build_pipeline(Config(bundle=str(small), engine="onnx", adaptation="inline")) as other:
        embed = other.adaptation.observer.navigator.embed
        for capture in found.captures:
            record, seen = capture.record, by_stamp[capture.record.stamp_ns]
            np.testing.assert_array_equal(capture.image(), seen.rgb)
            np.testing.assert_array_equal(capture.mask(), answers[seen.stamp_ns].labels)
            np.testing.assert_allclose(record.embedding, embed(seen), rtol=1e-5, atol=1e-6)
            assert record.mix == answers[seen.stamp_ns].mix
            assert (record.reason, record.level, record.frame_id) == ("low", "LOW", "camera")
            assert record.classes == other.vocabulary.names


def test_what_the_library_covers_is_not_kept(run, tmp_path):
    report, _ = run([frame(i, 100) for i in range(4)], **(ALWAYS_LOW | {"support_low": 1e-9}))
    assert report.kept == 0
    assert not (tmp_path / "captures").exists()


def test_off_is_off(run, tmp_path):
    report, _ = run([frame(i, 100) for i in range(4)], capture_dir="", **ALWAYS_LOW)
    assert report.state == OFF
    assert not list(tmp_path.iterdir())


def test_like_frames_are_one_and_the_period_holds(run):
    still = [replace(frame(0, 100), stamp_ns=(i + 1) * STEP_NS) for i in range(6)]
    report, _ = run(still, **ALWAYS_LOW)
    assert (report.kept, report.alike) == (1, 4)
    unlike = [frame(i, v) for i, v in enumerate((10, 110, 210, 10, 250))]
    report, _ = run(unlike, capture_period_s=3600.0, capture_spread=0.0, **ALWAYS_LOW)
    assert report.kept == 1


@pytest.mark.parametrize("spelt", ["{}/", "{}/.", "/.{}"])
def test_a_folder_spelt_in_another_way_is_opened_once(run, tmp_path, monkeypatch, spelt):
    opened = []

    class Counted(CaptureRing):
        def __init__(self, *words):
            opened.append(words)
            super().__init__(*words)

    monkeypatch.setattr(ring, "CaptureRing", Counted)
    folder = spelt.format(tmp_path / "captures")
    frames = [frame(i, v) for i, v in enumerate((10, 60, 110, 160))]
    report, _ = run(frames, capture_dir=folder, capture_spread=0.0, **ALWAYS_LOW)
    assert (report.frames, report.kept, len(opened)) == (3, 3, 1)


def test_a_folder_that_cannot_be_used_is_told_and_tried_again(run, tmp_path):
    (tmp_path / "captures").write_text("a file")
    report, _ = run([frame(i, 50 * i) for i in range(4)], **ALWAYS_LOW)
    assert report.state == FAILING
    assert "cannot make the capture folder" in report.detail
    assert (report.kept, report.failed) == (0, 3)


def test_a_filter_that_fails_keeps_nothing(run, tmp_path):
    """Better no frame than one with a face in it."""
    report, _ = run([frame(i, 50 * i) for i in range(3)], capture_filter="false", **ALWAYS_LOW)
    assert report.state == FAILING
    assert "capture_filter 'false' failed" in report.detail
    assert not read_captures(tmp_path / "captures").captures


def test_a_disk_that_hangs_costs_no_frame(run, tmp_path):
    """While one frame is being written for a second, the loop hands over and goes on."""
    slow = f"{sys.executable} -c 'import time; time.sleep(1)'"
    frames = [frame(i, 10 * i) for i in range(20)]
    began = time.monotonic()
    report, answers = run(frames, wait_s=0.0, capture_filter=slow, **ALWAYS_LOW)
    assert len(answers) == 20
    assert time.monotonic() - began < 12
    assert report.failed <= 1
    assert threading.active_count() < 20
