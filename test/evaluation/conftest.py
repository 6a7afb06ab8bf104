"""Results made by hand, and one real replay of a tiny bundle."""

import math

import numpy as np
import pytest

from semla_ros.core.answers import SegmentationResult, SupportReading, SwapEvent
from semla_ros.core.types import AdapterMix, Frame, Vocabulary
from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.writer import BagWriter
from semla_ros.evaluation.replay import FrameView
from semla_ros.evaluation.result import FrameRecord, ReplayResult, RunInfo, SkippedRecord

STAMP = 1_700_000_000_000_000_000
STEP = 100_000_000
VOCABULARY = Vocabulary(
    ("road", "car", "sky"), np.array([[128, 64, 128], [0, 0, 142], [70, 130, 180]], np.uint8)
)
FOG = AdapterMix.from_weights({"fog": 0.7, "rain": 0.3})


class ScriptedPipeline:
    """Answers every frame with labels of its brightness; swaps to fog at the third frame."""

    def __init__(self, *, refuse=(), fail_at=None, error=None):
        self.refuse, self.fail_at, self.error = refuse, fail_at, error
        self.steps = 0

    def step(self, frame):
        index, self.steps = self.steps, self.steps + 1
        if index == self.fail_at or index in self.refuse:
            raise self.error
        mix = FOG if index >= 2 else AdapterMix.base_only()
        swaps = ()
        if index == 2:
            event = SwapEvent(
                frame.stamp_ns, AdapterMix.base_only(), FOG, "domain", committed=True
            )
            swaps = (event,)
        labels = (frame.rgb[..., 0] // 86).astype(np.uint8)
        support = SupportReading(1.0, 0.9, "fog", math.nan, "OK", frame.stamp_ns)
        return SegmentationResult(
            frame.stamp_ns,
            frame.frame_id,
            labels,
            np.full(labels.shape, 200, np.uint8),
            VOCABULARY,
            mix,
            support if index else None,
            None,
            swaps,
            {"infer": 1.5},
        )


def make_frames(count, height=24, width=32):
    rng = np.random.default_rng(5)
    return [
        Frame(STAMP + i * STEP, "cam", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for i in range(count)
    ]


def make_views(count, **size):
    pipeline = ScriptedPipeline()
    return [FrameView(f, pipeline.step(f)) for f in make_frames(count, **size)]


def make_result(count=6):
    support = SupportReading(1.0, 0.5, "fog", math.nan, "LOW", STAMP)
    frames = tuple(
        FrameRecord(
            index=i,
            stamp_ns=STAMP + i * STEP,
            frame_id="cam",
            mix=FOG if i >= 2 else AdapterMix.base_only(),
            support=support if i else None,
            timings_ms={"step": 10.0 + i, "infer": 8.0},
            mask_crc32=i,
        )
        for i in range(count)
    )
    failed = SwapEvent(
        STAMP + 3 * STEP, FOG, AdapterMix(("night",), (1.0,)), "domain", False, error="it broke"
    )
    done = SwapEvent(STAMP + 2 * STEP, AdapterMix.base_only(), FOG, "domain", committed=True)
    return ReplayResult(
        info=RunInfo("bags/drive", "/image", "tiny", "fake", VOCABULARY.names, {"top_k": 3}),
        frames=frames,
        skipped=(SkippedRecord(6, STAMP, "<broken> JPEG"), SkippedRecord(7, 1, "<broken> JPEG")),
        swaps=(done, failed),
        notes=("a note & more",),
        ended_early="the disk is full",
    )


def write_bag(path, frames):
    with BagWriter(path) as bag:
        for frame in frames:
            fields = image_fields(frame.rgb, stamp_ns=frame.stamp_ns, frame_id=frame.frame_id)
            bag.write("/image", IMAGE, fields, frame.stamp_ns)
    return path


@pytest.fixture(scope="session")
def bundle(small):
    """The folder of a real bundle with three adapters."""
    return small


@pytest.fixture
def result():
    return make_result()


@pytest.fixture(scope="session")
def support():
    """What the tests of this folder build with; conftest modules cannot be imported by name."""

    class Support:
        stamp, step, fog, vocabulary = STAMP, STEP, FOG, VOCABULARY
        pipeline = ScriptedPipeline
        frames = staticmethod(make_frames)
        views = staticmethod(make_views)
        result = staticmethod(make_result)
        write_bag = staticmethod(write_bag)

    return Support
