"""A set says what is in it, and notices what is not any more."""

import json

import numpy as np
import pytest

from semla_ros.core.errors import CaptureError
from semla_ros.data.labelling.label_set import read_label_set, write_label_set


def test_a_set_survives(label_set, masks):
    back = read_label_set(label_set.root)
    assert back.vocabulary.names == label_set.vocabulary.names
    assert back.images == label_set.images
    for image in back.images:
        np.testing.assert_array_equal(back.proposal(image), masks[image.name])
        assert back.label(image) is None


def test_a_set_is_never_written_over(label_set):
    with pytest.raises(CaptureError, match="expected a new folder"):
        write_label_set(label_set.root, ("a",), [])


def test_an_image_that_is_gone_or_another_is_told(label_set):
    first, second = (label_set.image_path(image) for image in label_set.images[:2])
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(CaptureError, match="is not the one of the set"):
        read_label_set(label_set.root)
    first.unlink()
    with pytest.raises(CaptureError, match="is gone"):
        read_label_set(label_set.root)
    first.write_bytes(content)
    read_label_set(label_set.root)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"classes": []},
        {"images": [{"name": "../x", "height": 1, "width": 1, "sha256": "0"}]},
        {"images": [{"name": "x", "height": 10**9, "width": 1, "sha256": "0"}]},
        {"more": 1},
    ],
)
def test_an_edited_set_is_one_line(label_set, changes):
    path = label_set.root / "set.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(CaptureError, match="is damaged"):
        read_label_set(label_set.root)


def test_masks_that_do_not_fit_are_refused(label_set):
    image = label_set.images[0]
    with pytest.raises(CaptureError, match="expected 23 x 37 pixels"):
        label_set.write_label(image, np.zeros((37, 23), np.uint8))
    with pytest.raises(CaptureError, match="expected ids below 4 or 255, got 9"):
        label_set.write_label(image, np.full((23, 37), 9, np.uint8))


def test_a_mask_without_any_class_is_no_label(label_set):
    image = label_set.images[0]
    label_set.write_label(image, np.full((23, 37), 255, np.uint8))
    assert label_set.label(image) is None


def test_other_folders_are_no_sets(tmp_path):
    with pytest.raises(CaptureError, match=r"without set\.json"):
        read_label_set(tmp_path)
