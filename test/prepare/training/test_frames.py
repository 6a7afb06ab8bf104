"""Labelled frames: what is kept is what was read, and what cannot be trained on is refused."""

import os
import shutil

import cv2
import numpy as np
import pytest

from semla_ros.core.errors import SemlaError, TrainingError
from semla_ros.data.tasks import ReadSettings, tasks_of
from semla_ros.prepare.training.adapter import train_adapter
from semla_ros.prepare.training.frames import EMBEDDINGS, FACTS, PIXELS, gather
from semla_ros.prepare.training.networks import trained_network
from semla_ros.prepare.training.samples import IGNORE, View
from semla_ros.prepare.training.split import split_frames
from semla_ros.prepare.training.workplace import data_key

CLASSES = ("road", "car", "sky", "tree")


def _gather(frames, tmp_path, *, labels=True, view=None, domains=None, **changes):
    images, truth = frames
    tasks = tasks_of([f"dusk={images}"], labels=[str(truth)] if labels else [], domains=domains)
    kept = tmp_path / "kept"
    return gather(
        tasks, ReadSettings(), CLASSES, view=view or View((16, 16)), folder=kept, **changes
    )


def _relabel(frames, change, number=None, end=None):
    for path in sorted(frames[1].iterdir())[number:end]:
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), change(label))


def test_frames_come_back_as_they_are_shown(frames, tmp_path):
    found = _gather(frames, tmp_path)
    assert len(found.frames) == len(found.places) == 14
    rgb, labels = found.some([3])[0]
    image = cv2.imread(str(frames[0] / "003.png"))[..., ::-1]
    truth = cv2.imread(str(frames[1] / "003.png"), cv2.IMREAD_UNCHANGED)
    expected_rgb, expected_labels = View((16, 16)).fit(image, truth)
    np.testing.assert_array_equal(rgb, expected_rgb)
    np.testing.assert_array_equal(labels, expected_labels)
    assert sum(found.pixels) == 14 * 16 * 16
    assert found.pixels[3] == 0


def test_the_second_reading_is_the_first(frames, tmp_path):
    first = _gather(frames, tmp_path)
    for path in frames[0].iterdir():
        path.unlink()
    assert _gather(frames, tmp_path) == first


@pytest.mark.parametrize("name", [PIXELS, EMBEDDINGS])
@pytest.mark.parametrize("size", [0, 150])
def test_what_was_cut_short_is_read_again(frames, tmp_path, name, size):
    first = _gather(frames, tmp_path)
    content = (first.folder / name).read_bytes()
    os.truncate(first.folder / name, min(size, len(content) - 1))
    assert _gather(frames, tmp_path) == first
    assert (first.folder / name).read_bytes() == content


def test_frames_are_on_the_disk_before_facts_say_so(frames, tmp_path, monkeypatch):
    facts, seen = tmp_path / "kept" / FACTS, []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(facts.exists()))
    _gather(frames, tmp_path)
    assert facts.exists()
    assert seen == [False, False]


def test_labels_behind_a_link_count_for_the_key(frames, tmp_path):
    images, labels = frames
    (tmp_path / "linked").mkdir()
    shutil.move(labels, tmp_path / "elsewhere")
    (tmp_path / "linked" / "more").symlink_to(tmp_path / "elsewhere")
    tasks = tasks_of([f"dusk={images}"], labels=[str(tmp_path / "linked")])
    before = data_key(tasks, ReadSettings())
    assert data_key(tasks, ReadSettings()) == before
    os.utime(tmp_path / "elsewhere" / "003.png", ns=(0, 0))
    assert data_key(tasks, ReadSettings()) != before


def test_crops_are_taken_from_images_whose_shorter_side_is_as_long(frames, tmp_path):
    found = _gather(frames, tmp_path, view=View((16, 16), crop=12))
    assert {(f.height, f.width) for f in found.frames} == {(12, 20)}


def test_pixels_of_no_class_are_ignored(frames, tmp_path):
    _relabel(frames, lambda x: np.where(x == 2, 255, x).astype(np.uint8))
    found = _gather(frames, tmp_path)
    assert found.pixels[2] == 0
    assert found.pixels[-1] > 0
    assert IGNORE in found.some([0])[0][1]


def test_what_cannot_be_trained_on_is_refused_in_one_line(frames, tmp_path):
    with pytest.raises(TrainingError, match=r"expected labels to train on.* --labels"):
        _gather(frames, tmp_path, labels=False)
    _relabel(frames, lambda x: x[:, :20])
    with pytest.raises(TrainingError, match=r"truth of 20 x 24 does not fit an image of 40 x 24"):
        _gather(frames, tmp_path)
    _relabel(frames, lambda x: np.full((24, 40), 9, np.uint8))
    with pytest.raises(TrainingError, match=r"labels out of range: \[9\]"):
        _gather(frames, tmp_path)
    for path in sorted(frames[1].iterdir())[1:]:
        path.rename(path.with_name(f"other_{path.name}"))
    (frames[1] / "000.png").unlink()
    with pytest.raises(TrainingError, match=r"expected labelled frames .* got none"):
        _gather(frames, tmp_path)


def test_a_table_takes_its_domain_and_must_know_the_recording(frames, tmp_path):
    table = tmp_path / "domains.csv"
    rows = "".join(f"images,{i:03d},{'dusk' if i < 5 else 'day'}\n" for i in range(14))
    table.write_text("recording,name,domain\n" + rows)
    assert len(_gather(frames, tmp_path, domains=table, domain="dusk").frames) == 5
    table.write_text("recording,name,domain\nother,000,dusk\n")
    with pytest.raises(TrainingError, match=r"dusk: expected lines for it in 'domains.csv'"):
        _gather(frames, tmp_path / "again", domains=table, domain="dusk")


def test_a_single_bad_label_is_left_out_and_named(frames, tmp_path):
    _relabel(frames, lambda x: np.full((24, 40), 9, np.uint8), number=13)
    found = _gather(frames, tmp_path)
    assert len(found.frames) == 13
    assert any("1 frames with unusable labels" in note for note in found.notes)


def test_too_many_classes_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="at most 255 classes, got 300"):
        gather((), ReadSettings(), ["x"] * 300, view=View((16, 16)), folder=tmp_path)


def test_stretches_keep_a_gap_and_recordings_stay_whole():
    one = split_frames([0] * 100, share=0.2)
    assert one.held_out == tuple(range(80, 100))
    assert one.unused == (78, 79)
    assert one.train == tuple(range(78))
    many = split_frames([i // 10 for i in range(60)], share=0.2)
    assert many.held_out == tuple(range(40, 50))
    assert many.unused == ()
    given = split_frames([0] * 5 + [1] * 3, share=0.2, held_out=frozenset({1}))
    assert given.held_out == (5, 6, 7)


@pytest.mark.parametrize(("count", "side"), [(2, "hold out"), (1, "hold out")])
def test_a_split_with_an_empty_side_is_refused(count, side):
    with pytest.raises(TrainingError, match=f"got none to {side}"):
        split_frames([0] * count, share=0.2)
    with pytest.raises(TrainingError, match="got none to train on"):
        split_frames([0] * 4, share=0.2, held_out=frozenset({0}))


@pytest.mark.parametrize(
    ("label", "stretch", "message"),
    [
        (1, (None, None), "of two classes or more to train on, got 1 in 10 frames"),
        (1, (None, 10), "of two classes or more to train on, got 1 in 10 frames"),
        (IGNORE, (None, 10), "of two classes or more to train on, got 0 in 10 frames"),
        (IGNORE, (11, None), "of a class or more to judge by, got 0 in 3 frames"),
    ],
)
def test_a_side_without_classes_is_refused(frames, request_of, label, stretch, message):
    _relabel(frames, lambda x: np.full_like(x, label), *stretch)
    with pytest.raises(TrainingError, match=rf"{message} \(.*\): check --label-map"):
        train_adapter(request_of(), str, dry_run=True)


def test_a_bundle_of_graphs_alone_is_told_how_to_get_one(bundle):
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3, np.float32)}, str(bundle.weights))
    with pytest.raises(SemlaError, match=r"cannot be trained .* semla bundle import"):
        trained_network(bundle)
