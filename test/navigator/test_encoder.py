"""The ONNX encoder: the graph's numbers on our preprocessing, and graphs that do not fit."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.errors import BundleError, FrameError
from semla_ros.navigator.encoder import OnnxImageEncoder, RunnerImageEncoder, preprocess


def noise(seed, shape=(48, 64)):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_the_embedding_is_the_graphs_answer(make_bundle, spec, projection):
    encoder = OnnxImageEncoder(make_bundle(), threads=1)
    embedding = encoder.encode(noise(1))
    expected = preprocess(noise(1), spec).reshape(1, -1) @ projection
    np.testing.assert_allclose(embedding, expected[0], rtol=1e-4, atol=1e-4)
    assert embedding.dtype == np.float32
    assert (encoder.identity, encoder.dim) == (spec.identity, 4)


def test_the_embedding_is_not_normalised(make_bundle, projection):
    one, ten = (
        OnnxImageEncoder(make_bundle(weights=projection * f), threads=1).encode(noise(1))
        for f in (1, 10)
    )
    np.testing.assert_allclose(ten, 10 * one, rtol=1e-4, atol=1e-4)


def test_threads_may_share_an_encoder(make_bundle):
    encoder = OnnxImageEncoder(make_bundle(), threads=1)
    images = [noise(seed, (40 + seed, 60)) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(encoder.encode, images))
    for image, embedding in zip(images, parallel, strict=True):
        np.testing.assert_array_equal(encoder.encode(image), embedding)


def test_a_bundle_without_a_navigator_says_so(make_bundle):
    with pytest.raises(BundleError, match="no navigator"):
        OnnxImageEncoder(make_bundle(navigator=None), threads=1)


def test_another_interface_is_refused(make_bundle):
    with pytest.raises(BundleError, match=r"got \['image'\] and \['features'\]"):
        OnnxImageEncoder(make_bundle(output="features"), threads=1)


def test_an_unknown_resize_is_refused_at_once(make_bundle, spec):
    with pytest.raises(BundleError, match="'stretch'"):
        OnnxImageEncoder(make_bundle(navigator=replace(spec, resize="stretch")), threads=1)


def test_another_length_is_refused(make_bundle, spec):
    encoder = OnnxImageEncoder(make_bundle(navigator=replace(spec, dim=7)), threads=1)
    with pytest.raises(BundleError, match="length 7, got 4"):
        encoder.encode(noise(1))


def test_an_embedding_that_is_not_finite_costs_one_frame(make_bundle, projection):
    projection[0, 0] = np.inf
    encoder = OnnxImageEncoder(make_bundle(weights=projection), threads=1)
    with pytest.raises(FrameError, match="no finite embedding"):
        encoder.encode(noise(1))


def test_a_batch_gives_what_single_images_give(make_bundle):
    encoder = OnnxImageEncoder(make_bundle(), threads=1)
    images = [noise(seed, (40 + seed, 60)) for seed in range(3)]
    rows = encoder.encode_batch(iter(images))
    np.testing.assert_array_equal(rows, np.stack([encoder.encode(image) for image in images]))
    assert encoder.encode_batch([]).shape == (0, 4)
    assert not encoder.batches
    together = OnnxImageEncoder(make_bundle(batch="N"), threads=1)
    assert together.batches
    np.testing.assert_allclose(together.encode_batch(images), rows, rtol=1e-5, atol=1e-5)


def test_another_runtime_is_asked_for_one_image_at_a_time(make_bundle, spec, projection):
    asked = []

    def run(image):
        asked.append(image.shape)
        return (image.reshape(1, -1) @ projection).reshape(1, 2, 2, 1)

    encoder = RunnerImageEncoder(make_bundle(), run)
    images = [noise(seed) for seed in range(2)]
    expected = np.concatenate([preprocess(i, spec).reshape(1, -1) @ projection for i in images])
    np.testing.assert_allclose(encoder.encode_batch(images), expected, rtol=1e-5)
    assert asked == [(1, 3, 16, 16)] * 2
    assert not encoder.batches
