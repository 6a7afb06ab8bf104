"""No image that an adapter is judged by is one that it learnt from, or beside one in time."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'semla-ros[train]'")

from fakes import TINY_CLASSES

from semla_ros.core.errors import CaptureError
from semla_ros.data.labelling.label_set import Labelling, write_label_set
from semla_ros.loop.parts import parts_of

HOUR = 3_600_000_000_000


@pytest.fixture
def set_of(tmp_path):
    """Make a labelled set of (name, shade) each; those in `bare` have no label."""

    def make(shots, bare=()):
        items = [
            Labelling(
                name, np.full((4, 4, 3), (shade, shade // 256, 9), np.uint16).astype("u1"), None
            )
            for name, shade in shots
        ]
        found = write_label_set(tmp_path / "set", TINY_CLASSES, items)
        for image in found.images:
            if image.name not in bare:
                found.write_label(image, np.zeros((4, 4), np.uint8))
        return found

    return make


def drive(robot, count, *, start=0, step=2, shade=0):
    return [(f"{robot}-{start + step * i:019d}", shade + i) for i in range(count)]


def stamps(images):
    return sorted(int(image.name.split("-")[1]) for image in images)


def test_the_last_quarter_of_a_drive_is_held_out_after_a_gap(set_of):
    learn, judged = parts_of(set_of(drive("anna", 80)))
    assert stamps(judged) == list(range(120, 160, 2))
    assert stamps(learn) == list(range(0, 116, 2)), "1 / 40 of 80 images is in neither"


def test_a_copy_of_a_folder_is_on_one_side(set_of):
    shots = drive("anna", 40) + drive("backup", 40, start=HOUR)
    learn, judged = parts_of(set_of(shots))
    assert not {i.sha256 for i in learn} & {i.sha256 for i in judged}
    assert len(learn) + len(judged) == 39, "of each image one counts; one is the gap"


def test_of_copies_one_that_has_a_label_counts(set_of):
    shots = drive("anna", 40) + drive("backup", 40, start=HOUR)
    learn, judged = parts_of(set_of(shots, bare=[name for name, _ in shots[:40]]))
    assert {i.name[:6] for i in (*learn, *judged)} == {"backup"}


def test_one_cut_in_time_for_what_overlaps_in_time(set_of):
    shots = drive("anna", 40) + drive("bag", 80, start=1, step=1, shade=100)
    learn, judged = parts_of(set_of(shots))
    assert max(stamps(learn)) < min(stamps(judged))
    assert len(judged) == 30


def test_drives_apart_in_time_are_cut_each(set_of):
    shots = drive("anna", 40) + drive("bert", 40, start=HOUR, shade=100)
    _, judged = parts_of(set_of(shots))
    assert sorted(i.name[:4] for i in judged) == 10 * ["anna"] + 10 * ["bert"]


def test_a_number_behind_the_stamp_is_no_other_robot(set_of):
    later = [(f"{name}-2", shade) for name, shade in drive("anna", 40, start=HOUR, shade=100)]
    learn, judged = parts_of(set_of(drive("anna", 40) + later))
    assert max(stamps(learn)) < min(stamps(judged))
    assert len(judged) == 20


def test_names_without_a_stamp_go_by_their_order(set_of):
    learn, judged = parts_of(set_of([(f"image_{i:02d}", i) for i in range(40)]))
    assert [i.name for i in judged] == [f"image_{i}" for i in range(30, 40)]
    assert max(i.name for i in learn) == "image_28"


def test_images_without_labels_count_to_learn_from_before_the_cut_alone(set_of):
    shots = drive("anna", 64)
    bare = [name for name, _ in shots[::2]]
    learn, judged = parts_of(set_of(shots, bare=bare))
    assert len(judged) == 8
    assert not {i.name for i in judged} & {*bare}
    assert len([i for i in learn if i.name in bare]) == 24
    assert max(stamps(learn)) < min(stamps(judged))


def test_too_few_to_judge_by_are_told_before_anything_is_trained(set_of):
    why = r"at least 8 labelled images in the last quarter .* got 5: label 32 images or more"
    with pytest.raises(CaptureError, match=why):
        parts_of(set_of(drive("anna", 20)))
