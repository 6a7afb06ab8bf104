"""`semla segment` on a small bundle: what it writes, which mix serves, what it refuses."""

import json
import shutil

import cv2
import numpy as np
import pytest

from semla_ros.cli import main
from semla_ros.core.errors import LibraryError, SemlaError
from semla_ros.core.types import AdapterMix
from semla_ros.core.weights import UNCHANGED, WeightSet
from semla_ros.engine import create_engine
from semla_ros.engine.postprocess import scores_from_logits
from semla_ros.evaluation.mixes import mix_of
from semla_ros.evaluation.segment import SegmentRequest, segment_images
from semla_ros.evaluation.windows import single_window, sliding_window

SIZE = (24, 40)


@pytest.fixture
def image(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "scene.png"), rgb[..., ::-1])
    return tmp_path / "scene.png"


def facts(out):
    return json.loads((out / "scene.json").read_text())


def test_every_file_is_written_and_agrees(bundle, image, tmp_path):
    out = tmp_path / "out"
    written = segment_images(SegmentRequest(bundle, [image], out, save_logits=True))
    names = ["scene_labels.png", "scene_overlay.png", "scene.json", "scene.npz"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    labels = cv2.imread(str(out / "scene_labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == SIZE
    assert labels.dtype == np.uint8
    with np.load(out / "scene.npz") as stored:
        logits, features = stored["logits"], stored["text_features"]
    assert logits.shape == (4, 8, 8)
    assert features.shape == (4, 8)
    scores = scores_from_logits(logits)
    resized = np.stack([cv2.resize(s, SIZE[::-1], interpolation=cv2.INTER_LINEAR) for s in scores])
    assert (resized.argmax(0) == labels).mean() > 0.999
    told = facts(out)
    assert told["classes"] == ["road", "car", "sky", "tree"]
    assert sum(told["mix"].values()) == pytest.approx(1)
    assert told["support"]["nearest"] in told["distances"]
    assert set(told["timings_ms"]) == {"embed", "fuse", "load", "infer"}


@pytest.mark.parametrize(
    ("words", "mix"),
    [
        ("none", {"base": 1.0}),
        ("oracle:fog", {"fog": 1.0}),
        ("uniform", {"fog": 1 / 3, "night": 1 / 3, "rain": 1 / 3}),
        ("fog=3,rain=1", {"fog": 0.75, "rain": 0.25}),
        ("base=1, fog=1", {"base": 0.5, "fog": 0.5}),
    ],
)
def test_the_mix_is_the_one_asked_for(bundle, image, tmp_path, words, mix):
    segment_images(SegmentRequest(bundle, [image], tmp_path / "out", mix=words))
    assert facts(tmp_path / "out")["mix"] == pytest.approx(mix)


def test_another_mix_gives_other_logits_and_the_same_one_the_same(bundle, image, tmp_path):
    def logits(mix):
        out = tmp_path / mix.replace(":", "-")
        segment_images(SegmentRequest(bundle, [image], out, mix=mix, save_logits=True))
        with np.load(out / "scene.npz") as stored:
            return stored["logits"]

    base, fog = logits("none"), logits("oracle:fog")
    assert np.abs(base - fog).max() > 0.01
    np.testing.assert_array_equal(fog, logits("fog=1"))


def test_the_official_text_cache_keeps_the_features_of_the_first_image(bundle, tmp_path):
    """Two images far apart, so that the navigator mixes differently for each."""
    levels = {"a": 10, "b": 240}
    for stem, level in levels.items():
        cv2.imwrite(str(tmp_path / f"{stem}.png"), np.full((*SIZE, 3), level, np.uint8))
    images = [tmp_path / f"{stem}.png" for stem in levels]

    def features(images, **options):
        out = tmp_path / f"out{len(images)}{len(options)}"
        request = SegmentRequest(bundle, images, out, save_logits=True, **options)
        segment_images(request)
        mixes = [json.loads((out / f"{i.stem}.json").read_text())["mix"] for i in images]
        stored = [np.load(out / f"{i.stem}.npz")["text_features"] for i in images]
        return mixes, stored

    mixes, fresh = features(images)
    assert mixes[0] != mixes[1]
    assert np.abs(fresh[0] - fresh[1]).max() > 1e-4
    frozen_mixes, frozen = features(images, paper_compat_text_cache=True)
    assert frozen_mixes == mixes, "only the text is frozen"
    np.testing.assert_array_equal(frozen[0], fresh[0])
    np.testing.assert_array_equal(frozen[1], fresh[0])
    _, alone = features(images[1:], paper_compat_text_cache=True)
    np.testing.assert_array_equal(alone[0], fresh[1])


def test_classes_can_be_given_without_another_bundle(bundle, image, tmp_path):
    out = tmp_path / "out"
    request = SegmentRequest(bundle, [image], out, classes="sky;car, vehicle", save_logits=True)
    segment_images(request)
    assert facts(out)["classes"] == ["sky", "car, vehicle"]
    with np.load(out / "scene.npz") as stored:
        assert len(stored["logits"]) == len(stored["text_features"]) == 2


def test_sliding_windows_see_each_crop_and_the_whole(bundle, image, tmp_path):
    out = tmp_path / "out"
    segment_images(SegmentRequest(bundle, [image], out, window="sliding", save_logits=True))
    with np.load(out / "scene.npz") as stored:
        assert stored["logits"].shape == (5, 4, 8, 8)
    assert cv2.imread(str(out / "scene_labels.png"), cv2.IMREAD_UNCHANGED).shape == SIZE


def test_an_even_picture_has_the_same_labels_through_either_window(tiny):
    manifest = tiny.manifest
    rng = np.random.default_rng(0)
    text = rng.normal(size=(len(manifest.vocabulary.names), 32)).astype(np.float32)
    rgb = np.full((48, 64, 3), 90, np.uint8)
    with create_engine("onnx", tiny, threads=1) as engine:
        engine.prepare(WeightSet(AdapterMix.base_only(), UNCHANGED, text, manifest.vocabulary))
        engine.commit()
        single = single_window(engine, rgb)
        sliding = sliding_window(engine, rgb, crop=manifest.segmentation.crop)
    np.testing.assert_array_equal(sliding.logits[-1], single.logits)
    for crop in sliding.logits[:-1]:
        np.testing.assert_allclose(crop, single.logits, atol=1e-4)
    assert single.labels.labels.shape == sliding.labels.labels.shape == (48, 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("oracle:hail", "'hail'"),
        ("hail=1", "'hail'"),
        ("fog", "name=weight"),
        ("fog=much", "name=weight"),
        ("fog=1,fog=2", "each name once"),
        ("fog=-1", ">= 0"),
        ("fog=0", "above 0"),
        ("fog=nan", "finite"),
    ],
)
def test_mixes_that_cannot_be(text, message):
    with pytest.raises(LibraryError, match=message):
        mix_of(text, ("fog", "rain"))


def test_uniform_over_nothing_is_refused():
    with pytest.raises(LibraryError, match="expected adapters"):
        mix_of("uniform", ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": "double"}, "'double'"),
        ({"engine": "warp"}, "'warp'"),
        ({"classes": "no.yaml"}, "no.yaml"),
        ({"mix": "oracle:hail"}, "'hail'"),
    ],
)
def test_wrong_words(bundle, image, tmp_path, changes, message):
    with pytest.raises(SemlaError, match=message):
        segment_images(SegmentRequest(bundle, [image], tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_two_images_of_one_name_are_refused(bundle, image, tmp_path):
    other = tmp_path / "other" / "scene.png"
    other.parent.mkdir()
    shutil.copy(image, other)
    with pytest.raises(SemlaError, match="'scene'"):
        SegmentRequest(bundle, [image, other], tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"not an image at all", "JPEG, PNG or WebP")],
)
def test_an_unusable_image_is_one_line(bundle, tmp_path, capsys, content, message):
    path = tmp_path / "bad.png"
    if content is not None:
        path.write_bytes(content)
    code = main(["segment", str(bundle), str(path), "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert code == 2
    assert "bad.png" in error
    assert message in error
    assert error.count("\n") == 1


def test_a_bundle_without_navigator_wants_a_mix(imported_without_navigator, image, tmp_path):
    root = imported_without_navigator
    with pytest.raises(SemlaError, match="--mix none"):
        segment_images(SegmentRequest(root, [image], tmp_path / "out"))
    segment_images(SegmentRequest(root, [image], tmp_path / "out", mix="oracle:fog"))
    assert facts(tmp_path / "out")["support"] is None


@pytest.fixture
def imported_without_navigator(bundle, tmp_path):
    import yaml

    root = shutil.copytree(bundle, tmp_path / "plain")
    data = yaml.safe_load((root / "bundle.yaml").read_text())
    data["navigator"] = None
    del data["files"]["navigator.onnx"]
    (root / "navigator.onnx").unlink()
    (root / "bundle.yaml").write_text(yaml.safe_dump(data))
    return root
