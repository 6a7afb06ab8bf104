from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from semla_ros.core.errors import EvaluationError
from semla_ros.data.labels.label_folder import LabelFolder, nearest, stamp_of
from semla_ros.data.labels.label_map import read_label_map
from semla_ros.data.labels.source import FolderTruth


def _label(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((4, 6), value, np.uint8))
    return path


LAYOUTS = [
    (
        "cityscapes",
        "frankfurt_000000_000294_leftImg8bit",
        "gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_labelIds.png",
    ),
    ("acdc", "GOPR0475_frame_000247_rgb_anon", "gt/fog/val/GOPR0475_frame_000247_gt_labelIds.png"),
    (
        "muses",
        "REC0006_frame_041120_frame_camera",
        "gt_semantic/val/clear/day/REC0006_frame_041120_gt_labelTrainIds.png",
    ),
    ("idd", "426507_leftImg8bit", "gtFine/val/100/426507_gtFine_labellevel3Ids.png"),
    ("bdd", "7d06fefd-f7be05a6", "labels/val/7d06fefd-f7be05a6_train_id.png"),
    ("bdd", "7d06fefd-f7be05a6", "masks/val/7d06fefd-f7be05a6.png"),
    ("mapillary", "_1Gn_xkw7sa_i9GU4mkxxQ", "v1.2/labels/_1Gn_xkw7sa_i9GU4mkxxQ.png"),
    ("camvid", "0001TP_006690", "LabeledApproved/0001TP_006690_L.png"),
    ("camvid", "0006R0_f00930", "labels/0006R0_f00930.png"),
]


@pytest.mark.parametrize(("map_name", "image", "label"), LAYOUTS)
def test_the_layouts_of_the_data_sets(
    tmp_path: Path, map_name: str, image: str, label: str
) -> None:
    path = _label(tmp_path / label)
    folder = LabelFolder(tmp_path, read_label_map(map_name))
    found = folder.by_name(image)
    assert found is not None
    assert found.path == path
    assert folder.by_name(image + "x") is None


def test_of_several_kinds_of_one_frame_the_first_of_the_map_is_taken(tmp_path: Path) -> None:
    for kind in ("labelTrainIds", "color", "labelIds", "instanceIds"):
        _label(tmp_path / f"a_0_0_gtFine_{kind}.png")
    folder = LabelFolder(tmp_path, read_label_map("cityscapes"))
    found = folder.by_name("a_0_0_leftImg8bit")
    assert found is not None
    assert (found.path.name, found.table, len(folder)) == (
        "a_0_0_gtFine_labelIds.png",
        "label_ids",
        1,
    )


def test_two_labels_for_one_frame_are_refused(tmp_path: Path) -> None:
    _label(tmp_path / "fog" / "1.png")
    _label(tmp_path / "night" / "1.png")
    with pytest.raises(EvaluationError, match=r"two label images for the frame '1'.*one by one"):
        LabelFolder(tmp_path, read_label_map("camvid"))


def test_a_folder_without_labels_says_what_is_expected(tmp_path: Path) -> None:
    _label(tmp_path / "1.png")
    with pytest.raises(EvaluationError, match=r"_gtFine_labelIds\.png.*found 1 PNGs"):
        LabelFolder(tmp_path, read_label_map("cityscapes"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1700000000123456789", 1_700_000_000_123_456_789),
        ("1418381798086398", 1_418_381_798_086_398_000),
        ("17000000001234567", None),
        ("170000000123456789", 170_000_000_123_456_789),
        ("1700000000.5", 1_700_000_000_500_000_000),
        ("1700000000.123456", 1_700_000_000_123_456_000),
        ("1700000000_123456", 1_700_000_000_123_456_000),
        ("1700000000_5", None),
        ("1700000000_000000005", 1_700_000_000_000_000_005),
        ("000123", None),
        ("0001TP_006690", None),
        ("frankfurt_000000_000294", None),
    ],
)
def test_names_that_are_stamps(name: str, expected: int | None) -> None:
    assert stamp_of(name) == expected


def test_nearest_keeps_within_its_tolerance() -> None:
    assert nearest([10, 20, 30], 24, tolerance_ns=5) == 20
    assert nearest([10, 20, 30], 26, tolerance_ns=4) == 30
    assert nearest([10, 20, 30], 25, tolerance_ns=4) is None
    assert nearest([], 25, tolerance_ns=4) is None


def test_truth_by_stamp_and_what_is_missing_is_not_scored(tmp_path: Path) -> None:
    _label(tmp_path / "1700000000000000000.png", value=3)
    _label(tmp_path / "1700000001000000000.png", value=77)
    source = FolderTruth(
        tmp_path, read_label_map("camvid"), ("road", "sky"), max_pixels=1000, tolerance_ns=1000
    )
    found = source.truth(1_700_000_000_000_000_900, "")
    assert found.labels is not None
    assert found.labels.tolist() == [[0] * 6] * 4
    missing = source.truth(1_700_000_000_000_002_000, "")
    assert (missing.labels, missing.problem) == (None, "")
    damaged = source.truth(1_700_000_001_000_000_000, "")
    assert damaged.labels is None
    assert "out of range: [77]" in damaged.problem
    assert source.mappings()[0].ignored


def test_two_images_that_would_take_one_label_are_refused(tmp_path: Path) -> None:
    _label(tmp_path / "000001_gt_labelIds.png")
    _label(tmp_path / "1700000000_123456_gt_labelIds.png")
    truth = FolderTruth(tmp_path, read_label_map("acdc"), ("road", "sky"), max_pixels=1000)
    front, back = Path("cam0/000001_rgb_anon.png"), Path("cam1/000001.png")
    with pytest.raises(EvaluationError, match=r"cam0/0.*cam1/0.*an input of its own"):
        truth.require_apart([front, Path("cam0/000002.png"), back])
    by_stamp = [Path(f"cam{i}/1700000000124456.png") for i in range(2)]
    with pytest.raises(EvaluationError, match=r"'1700000000_123456_gt_labelIds\.png'"):
        truth.require_apart(by_stamp)
    truth.require_apart([front, Path("cam0/000002.png"), Path("cam1/000002.png")])
