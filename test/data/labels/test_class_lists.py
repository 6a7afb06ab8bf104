"""Class lists by name, from files and from a line."""

import json

import pytest
import yaml

from semla_ros.core.errors import VocabularyError
from semla_ros.core.viz.palette import color_of
from semla_ros.data.labels.class_lists import class_lists, read_classes


def test_cityscapes_has_its_19_classes_and_colours():
    vocabulary = read_classes("cityscapes")
    assert len(vocabulary.names) == 19
    assert (vocabulary.names[0], vocabulary.names[-1]) == ("road", "bicycle")
    assert vocabulary.colors[0].tolist() == [128, 64, 128]
    assert vocabulary.colors[18].tolist() == [119, 11, 32]


@pytest.mark.parametrize("name", sorted(class_lists()))
def test_every_packaged_list_reads(name):
    assert read_classes(name).names


@pytest.mark.parametrize(
    ("file", "content"), [("c.txt", "road\ncar\n"), ("c.yaml", "- road\n- car")]
)
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path, file, content):
    (tmp_path / file).write_text(content, encoding="utf-8-sig")
    assert read_classes(str(tmp_path / file)).names == ("road", "car")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("c.json", json.dumps(["road", "car, vehicle"])),
        ("c.yaml", "- road\n- 'car, vehicle'\n"),
        ("c.yaml", yaml.safe_dump({"classes": [{"id": 0, "name": "road"}, "car, vehicle"]})),
        ("c.txt", "road\ncar, vehicle\n\n"),
    ],
)
def test_files_of_names(tmp_path, file, content):
    (tmp_path / file).write_text(content)
    vocabulary = read_classes(str(tmp_path / file))
    assert vocabulary.names == ("road", "car, vehicle")
    assert tuple(vocabulary.colors[1]) == color_of("car")


def test_names_in_a_line():
    assert read_classes("road;car, vehicle").names == ("road", "car, vehicle")
    assert read_classes("road,car").names == ("road", "car")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no class list"),
        ("3", "got int"),
        ("[]", "got list"),
        ("[1, 2]", "expected a name, got 1"),
        ("[road, road]", "distinct"),
        ("[road, '']", "empty"),
        ("classes: [{id: 1, name: road}]", "ids 0, 1, 2"),
        ("classes: [{id: 0, name: road, rgb: [1, 2, 300]}]", "0 to 255"),
        ("classes: [{name: road, rgb: [1, 2, 3]}, {name: car}]", "got None"),
    ],
)
def test_unusable_files_are_named(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(VocabularyError, match=message) as error:
        read_classes(str(path))
    assert "c.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(VocabularyError, match="cityscapes"):
        read_classes("missing.yaml")
