"""The contract of every engine, one frame at a time: what it takes, returns and allocates."""

import tracemalloc

import numpy as np
import pytest

from semla_ros.core.errors import FrameError


def serve(engine, weight_set):
    engine.prepare(weight_set)
    engine.commit()


def answer(engine, rgb):
    return engine.infer(rgb, keep_logits=True).logits


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
    ids=["grey", "rgba", "empty", "float"],
)
def test_a_malformed_image_is_refused_and_the_engine_lives(engine, engine_set, rgb, image):
    serve(engine, engine_set(1))
    before = answer(engine, rgb)
    with pytest.raises(FrameError, match="expected an image"):
        engine.infer(image)
    if image.dtype == np.uint8:
        with pytest.raises(FrameError, match="expected an image"):
            engine.logits(image)
    np.testing.assert_array_equal(answer(engine, rgb), before)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (480, 640), (17, 5)])
def test_any_resolution_gives_labels_at_network_size(engine, engine_set, shape):
    serve(engine, engine_set(1))
    prediction = engine.infer(np.full((*shape, 3), 128, np.uint8))
    size = engine.facts.size
    assert prediction.labels.shape == prediction.confidence.shape == size
    assert prediction.labels.dtype == prediction.confidence.dtype == np.uint8
    assert prediction.logits is None
    assert int(prediction.labels.max()) < 4


def test_kept_logits_survive_the_next_frame(engine, engine_set, rgb):
    serve(engine, engine_set(1))
    kept = answer(engine, rgb)
    copy = kept.copy()
    engine.infer(255 - rgb)
    np.testing.assert_array_equal(kept, copy)


def test_answers_are_not_overwritten_by_later_frames(engine, engine_set, rgb):
    serve(engine, engine_set(1))
    first = engine.infer(rgb)
    copies = first.labels.copy(), first.confidence.copy()
    for shade in (0, 255, 90):
        engine.infer(np.full_like(rgb, shade))
    np.testing.assert_array_equal(first.labels, copies[0])
    np.testing.assert_array_equal(first.confidence, copies[1])


def test_a_frame_allocates_what_it_returns_and_little_else(engine, engine_set):
    """Arrays of numpy and OpenCV; a float copy of this image alone would be 3.5 MiB."""
    camera = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    serve(engine, engine_set(1))
    for _ in range(3):
        engine.infer(camera)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        prediction = engine.infer(camera)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    returned = prediction.labels.nbytes + prediction.confidence.nbytes
    assert peak - before - returned < 256 * 1024


def test_logits_take_floats_and_equal_those_of_infer(engine, engine_set, rgb):
    engine.prepare(engine_set(1))
    engine.commit()
    kept = engine.infer(rgb, keep_logits=True).logits
    np.testing.assert_array_equal(engine.logits(rgb), kept)
    np.testing.assert_array_equal(engine.logits(rgb.astype(np.float32)), kept)
    with pytest.raises(FrameError, match="float64"):
        engine.logits(rgb.astype(np.float64))
