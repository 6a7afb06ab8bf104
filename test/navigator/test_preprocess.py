"""CLIP's preprocessing against Pillow and against torchvision-free arithmetic."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from semla_ros.core.errors import BundleError
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.navigator.preprocess import RESIZES, preprocess, resize_of


def noise(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def reference(rgb, spec):
    """OpenAI CLIP with transformers' rounding: Pillow bicubic, centre crop, /255, mean and std."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    height, width = rgb.shape[:2]
    if height < width:
        tall, wide = spec.size, int(spec.size * width / height)
    else:
        tall, wide = int(spec.size * height / width), spec.size
    resized = np.asarray(image.fromarray(rgb).resize((wide, tall), image.Resampling.BICUBIC))
    top, left = (tall - spec.size) // 2, (wide - spec.size) // 2
    crop = resized[top : top + spec.size, left : left + spec.size] / 255.0
    return ((crop - np.array(spec.mean)) / np.array(spec.std)).transpose(2, 0, 1)[np.newaxis]


@pytest.mark.parametrize("size", [16, 224])
@pytest.mark.parametrize("shape", [(480, 640), (720, 1280), (640, 360), (221, 333), (20, 20)])
def test_center_crop_is_clips(spec, shape, size):
    spec = replace(spec, size=size)
    rgb = noise(*shape)
    got = preprocess(rgb, spec)
    assert got.shape == (1, 3, size, size)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    one_level = 1 / 255 / min(spec.std)
    np.testing.assert_allclose(got, reference(rgb, spec), atol=one_level + 1e-5)
    assert np.abs(got - reference(rgb, spec)).mean() < 1e-4


@pytest.mark.parametrize("shape", [(480, 640), (720, 1280), (641, 360), (221, 334), (20, 20)])
def test_eval_crop_is_torchvisions(spec, shape):
    """Resize(256) and CenterCrop(224) written out: Pillow, `int(256 * long / short)`, `round`."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    spec = replace(spec, size=224, resize="eval_crop")
    rgb = noise(*shape)
    height, width = shape
    short = min(shape)
    tall, wide = int(256 * height / short), int(256 * width / short)
    resized = np.asarray(image.fromarray(rgb).resize((wide, tall), image.Resampling.BICUBIC))
    top, left = round((tall - 224) / 2.0), round((wide - 224) / 2.0)
    crop = resized[top : top + 224, left : left + 224] / 255.0
    expected = ((crop - np.array(spec.mean)) / np.array(spec.std)).transpose(2, 0, 1)[None]
    got = preprocess(rgb, spec)
    np.testing.assert_allclose(got, expected, atol=1 / 255 / min(spec.std) + 1e-5)
    assert np.abs(got - expected).mean() < 1e-3


def test_transformers_agrees(spec):
    pytest.importorskip("torch", reason="torch is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from semla_ros.prepare.bundler.clip import import_open_clip

        import_open_clip()
        transformers = pytest.importorskip("transformers", reason="transformers is not installed")
        if not hasattr(transformers, "CLIPImageProcessorPil"):
            pytest.skip("transformers has no CLIPImageProcessorPil")
        processor = transformers.CLIPImageProcessorPil()
    rgb = noise(360, 641)
    theirs = np.asarray(processor(rgb, return_tensors="np")["pixel_values"])
    got = preprocess(rgb, replace(spec, size=224))
    np.testing.assert_allclose(got, theirs, atol=1 / 255 / min(spec.std) + 1e-5)


@pytest.mark.parametrize("shape", [(40, 80), (80, 40), (50, 50), (1, 300), (300, 90)])
def test_letterbox_keeps_everything_and_pads_with_the_mean(spec, shape):
    spec = replace(spec, resize="letterbox")
    got = preprocess(np.full((*shape, 3), 255, np.uint8), spec)
    assert got.shape == (1, 3, 16, 16)
    inside = np.abs(got[0, 0]) > 1e-3
    height, width = (max(1, round(n * 16 / max(shape))) for n in shape)
    assert inside.sum() == height * width
    top, left = (np.flatnonzero(inside.any(axis=axis))[0] for axis in (1, 0))
    assert (top, left) == ((16 - height) // 2, (16 - width) // 2)


def test_of_a_square_image_letterbox_and_crop_see_the_same(spec):
    rgb = noise(50, 50)
    np.testing.assert_array_equal(
        preprocess(rgb, replace(spec, resize="letterbox")), preprocess(rgb, spec)
    )


def test_squash_is_what_the_segmentation_network_sees(spec):
    rgb = noise(37, 53)
    buffer = InputBuffer((24, 40))
    buffer.load(rgb)
    seen = replace(spec, size=24, width=40, resize="squash", mean=(0.0,) * 3, std=(1 / 255,) * 3)
    np.testing.assert_array_equal(preprocess(rgb, seen), buffer.tensor)


@pytest.mark.parametrize("resize", sorted(RESIZES))
@pytest.mark.parametrize("shape", [(1, 1), (2, 900), (900, 2), (33, 17)])
def test_any_image_size_gives_a_finite_input(spec, resize, shape):
    got = preprocess(noise(*shape), replace(spec, resize=resize))
    assert got.shape == (1, 3, 16, 16)
    assert np.isfinite(got).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize": "stretch"}, "'stretch'"),
        ({"size": 0}, "size of at least 1"),
        ({"std": (0.2, 0.0, 0.2)}, "std above 0"),
        ({"width": 20}, "square input for resize 'center_crop'"),
    ],
)
def test_an_impossible_spec_is_refused(spec, change, message):
    with pytest.raises(BundleError, match=message):
        resize_of(replace(spec, **change))


def test_one_pixel_is_a_size(spec):
    assert preprocess(noise(8, 8), replace(spec, size=1)).shape == (1, 3, 1, 1)
