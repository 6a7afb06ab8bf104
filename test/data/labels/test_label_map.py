from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from semla_ros.core.errors import EvaluationError
from semla_ros.data.labels.class_lists import read_classes
from semla_ros.data.labels.class_mapping import Synonyms, class_mapping
from semla_ros.data.labels.label_map import label_maps, read_label_map

DEMO = ("road", "sidewalk", "building", "vegetation", "sky", "car", "person", "pole", "sign")
CITYSCAPES = read_classes("cityscapes").names


def test_every_shipped_map_gives_classes_to_cityscapes_and_the_demo() -> None:
    assert set(label_maps()) == {
        *("acdc", "bdd", "camvid", "cityscapes", "idd", "mapillary", "muses")
    }
    for name in label_maps():
        label_map = read_label_map(name)
        for table in label_map.tables:
            for classes in (CITYSCAPES, DEMO):
                assigned = class_mapping(label_map, table, classes).assigned.values()
                assert {classes.index("road"), classes.index("sky")} <= set(assigned)


@pytest.mark.parametrize(
    ("map_name", "table", "value", "expected"),
    [
        ("cityscapes", "label_ids", 7, "road"),
        ("cityscapes", "label_ids", 26, "car"),
        ("cityscapes", "train_ids", 18, "bicycle"),
        ("acdc", "label_ids", 33, "bicycle"),
        ("muses", "train_ids", 9, "terrain"),
        ("bdd", "train_ids", 10, "sky"),
        ("idd", "level3_ids", 4, "person"),
        ("idd", "level3_ids", 25, "sky"),
        ("mapillary", "ids", 13, "road"),
        ("mapillary", "ids", 24, "road"),
        ("mapillary", "ids", 55, "car"),
        ("camvid", "ids", 4, "sidewalk"),
        ("camvid", "ids", 9, "person"),
    ],
)
def test_ids_become_the_classes_that_the_data_sets_mean(
    map_name: str, table: str, value: int, expected: str
) -> None:
    mapping = class_mapping(read_label_map(map_name), table, CITYSCAPES)
    assert CITYSCAPES[int(mapping.apply(np.full((1, 1), value, np.uint8))[0, 0])] == expected


def test_what_has_no_counterpart_is_ignored_and_listed() -> None:
    mapping = class_mapping(read_label_map("camvid"), "ids", DEMO)
    assert mapping.ignored == ("fence", "bicyclist")
    assert mapping.uncovered == ()
    fence, unlabelled = np.array([[7]], np.uint8), np.array([[11]], np.uint8)
    assert mapping.apply(fence) == mapping.apply(unlabelled) == mapping.ignore == len(DEMO)


def test_colours_become_classes() -> None:
    mapping = class_mapping(read_label_map("camvid"), "colors", DEMO)
    image = np.array([[[128, 64, 128], [0, 0, 192], [0, 0, 0]]], np.uint8)
    assert mapping.apply(image).tolist() == [[0, 1, len(DEMO)]]
    with pytest.raises(EvaluationError, match=r"out of range: \[\[1, 2, 3\]\]"):
        mapping.apply(np.array([[[1, 2, 3], [0, 0, 0]]], np.uint8))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_ids_out_of_range_are_listed(dtype: type) -> None:
    mapping = class_mapping(read_label_map("camvid"), "ids", DEMO)
    assert mapping.apply(np.array([[3, 255]], dtype)).tolist() == [[0, len(DEMO)]]
    with pytest.raises(EvaluationError, match=r"'camvid': labels out of range: \[12, 200\]"):
        mapping.apply(np.array([[3, 12, 200]], dtype))


def test_negative_and_huge_ids_are_out_of_range() -> None:
    mapping = class_mapping(read_label_map("cityscapes"), "label_ids", CITYSCAPES)
    for value in (-1, 24033):
        with pytest.raises(EvaluationError, match=f"out of range: .{value}"):
            mapping.apply(np.array([[value]], np.int32))


def test_identity_keeps_ids_and_ignores_the_unlabelled_ones() -> None:
    mapping = class_mapping(read_label_map("identity"), "", DEMO)
    assert mapping.apply(np.array([[0, 8, 255]], np.uint8)).tolist() == [[0, 8, 9]]
    assert mapping.apply(np.array([[0, 65535]], np.uint16)).tolist() == [[0, 9]]
    with pytest.raises(EvaluationError, match="out of range"):
        mapping.apply(np.array([[9]], np.uint8))


def test_a_map_may_choose_one_table() -> None:
    label_map = read_label_map("cityscapes:train_ids")
    assert label_map.labels == {"_gtFine_labelTrainIds": "train_ids", "": "train_ids"}
    with pytest.raises(EvaluationError, match="expected a table of"):
        read_label_map("cityscapes:panoptic")


def test_a_map_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("tables: {ids: {ignore: [0], ids: {1: Street, 2: Sky}}}\n")
    mapping = class_mapping(read_label_map(str(path)), "ids", DEMO)
    assert mapping.apply(np.array([[0, 1, 2]], np.uint8)).tolist() == [[9, 0, 4]]
    assert mapping.uncovered == tuple(c for c in DEMO if c not in ("road", "sky"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected a mapping"),
        ("tables: {}", "expected a table"),
        ("tables: {a: {ids: {1: x}}}\nlabels: {_l: b}", "lacks \\['b'\\]"),
        ("tables: {a: {ids: {70000: x}}}", "outside the range \\[70000\\]"),
        ("tables: {a: {ids: {1: x}, ignore: [1]}}", "also ignored"),
        ("tables: {a: {colors: [{rgb: [1, 2, 300], name: x}]}}", "three of 0 to 255"),
        ("tables: {a: {colors: [{name: x}]}}", "malformed"),
        ("tables: {a: {ids: {one: x}}}", "malformed"),
        ("tables: {a: {ids: {1: x}}}\nids: {}", "got \\['ids'\\]"),
        ("a: [", "no label map"),
    ],
)
def test_an_unusable_map_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=message) as caught:
        read_label_map(str(path))
    assert "\n" not in str(caught.value)


def test_an_unknown_map_names_those_there_are() -> None:
    with pytest.raises(EvaluationError, match=r"'acdc', 'bdd'.*got 'kitti'"):
        read_label_map("kitti")


def test_a_map_of_other_things_is_refused() -> None:
    with pytest.raises(EvaluationError, match="none of its classes"):
        class_mapping(read_label_map("camvid"), "ids", ("cup", "table"))


def test_an_equal_name_goes_before_a_wider_one() -> None:
    names = Synonyms((frozenset({"rider", "cyclist"}),), (("bicyclist", ("rider",)),))
    assert names.class_of("Bicyclist", ("rider", "bicyclist")) == 1
    assert names.class_of("bicyclist", ("cyclist",)) == 0
    assert names.class_of("bicyclist", ("bicycle",)) is None
    assert names.class_of("cyclist", ("person", "man on a bike, rider")) == 1


def test_shipped_maps_are_readable_files() -> None:
    for path in label_maps().values():
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# ")
        assert max(map(len, text.splitlines())) < 100
        assert yaml.safe_load(text)


def test_a_topic_needs_the_table_where_several_fit() -> None:
    for name in ("cityscapes", "acdc", "muses", "idd"):
        first, second = read_label_map(name).tables
        choices = f"--label-map {name}:{first} or --label-map {name}:{second}$"
        with pytest.raises(EvaluationError, match=choices):
            read_label_map(name).table_for(colors=False)
        assert read_label_map(f"{name}:{second}").table_for(colors=False) == second
        assert read_label_map(name).table_for(colors=True) == first
    camvid = read_label_map("camvid")
    assert [camvid.table_for(colors=c) for c in (False, True)] == ["ids", "colors"]
    assert read_label_map("bdd").table_for(colors=False) == "train_ids"
    assert read_label_map("identity").table_for(colors=False) == "identity"
