"""The costmap's parameters are those of the layer, and name every class that a mask can hold."""

from pathlib import Path

import pytest
import yaml

from semla_ros.bundle import open_bundle
from semla_ros.cli import main
from semla_ros.core.types import UNLABELED_NAME, UNSUPPORTED
from semla_ros.data.labels.class_lists import read_classes
from semla_ros.prepare.nav2_costmap import nav2_costmap

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "models" / "demo"

LAYER = {"plugin", "enabled", "combination_method", "observation_sources"} | {
    "publish_debug_topics",
    "use_approximate_time_sync",
}
SOURCE = {
    "segmentation_topic",
    "confidence_topic",
    "labels_topic",
    "pointcloud_topic",
    "observation_persistence",
    "expected_update_rate",
    "class_types",
    "max_obstacle_distance",
    "min_obstacle_distance",
    "tile_map_decay_time",
    "visualize_tile_map",
    "use_cost_selection",
}
TYPE = {
    "classes",
    "base_cost",
    "max_cost",
    "mark_confidence",
    "samples_to_max_cost",
    "dominant_priority",
}
"""What src/semantic_segmentation_layer.cpp of kiwicampus/semantic_segmentation_layer declares at
a70cf6e (rolling) and 274c713 (jazzy), the same names; `plugin` is Nav2's own."""


def classes_of(kind):
    if kind == "demo":
        return open_bundle(DEMO, verify=False).manifest.vocabulary.names
    if kind == "odd":
        return ("road, street", 'a "quoted": name', "Straße", "floor", "a very long name " * 5)
    return read_classes(kind).names


def layer_of(text):
    parameters = yaml.safe_load(text)["local_costmap"]["local_costmap"]["ros__parameters"]
    return parameters["semantic_segmentation_layer"]


def costs_of(text):
    """Class name -> its type; a name in two types fails."""
    camera = layer_of(text)["camera"]
    pairs = [(name, kind) for kind in camera["class_types"] for name in camera[kind]["classes"]]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("kind", ["demo", "cityscapes", "odd"])
def test_every_name_of_a_mask_has_a_cost(kind):
    names = classes_of(kind)
    costs = costs_of(nav2_costmap(names))
    assert set(costs) == {*names, *(n + UNSUPPORTED for n in names), UNLABELED_NAME}
    for name in names:
        lethal = {costs[name] == "obstacle", costs[name + UNSUPPORTED] == "obstacle"}
        assert len(lethal) == 1, name
        assert costs[name + UNSUPPORTED] in ("obstacle", "unsupported")


def test_ground_is_free_only_where_it_is_supported():
    costs = costs_of(nav2_costmap(["road, street", "Sidewalk", "terrain", "car", "armadillo"]))
    assert costs["road, street"] == costs["Sidewalk"] == "free"
    assert costs["road, street" + UNSUPPORTED] == costs[UNLABELED_NAME] == "unsupported"
    assert costs["terrain"] == "caution"
    assert costs["car" + UNSUPPORTED] == costs["armadillo"] == "obstacle"


def test_lost_support_and_obstacles_replace_older_road_at_once():
    camera = layer_of(nav2_costmap(["road", "car", "terrain"]))["camera"]
    dominant = {kind for kind in camera["class_types"] if camera[kind]["dominant_priority"]}
    assert dominant == {"unsupported", "obstacle"}
    for kind in dominant:
        assert camera[kind]["samples_to_max_cost"] == 0
        assert camera[kind]["max_cost"] > 0


@pytest.mark.parametrize("kind", ["demo", "cityscapes", "odd"])
def test_the_layer_knows_every_parameter(kind):
    layer = layer_of(nav2_costmap(classes_of(kind)))
    camera = layer.pop(layer["observation_sources"])
    types = [camera.pop(each) for each in camera["class_types"]]
    assert set(layer) <= LAYER
    assert set(camera) <= SOURCE
    assert all(set(each) == TYPE for each in types)


def test_a_list_without_ground_has_no_empty_type():
    camera = layer_of(nav2_costmap(["car"]))["camera"]
    assert camera["class_types"] == ["unsupported", "obstacle"]
    assert all(camera[kind]["classes"] for kind in camera["class_types"])


def test_topics_follow_the_namespace_of_the_node():
    camera = layer_of(nav2_costmap(["road"], namespace="/fleet/robot/"))["camera"]
    assert camera["segmentation_topic"] == "/fleet/robot/segmenter/planner/mask"
    assert camera["labels_topic"] == "/fleet/robot/segmenter/planner/label_info"
    assert camera["confidence_topic"] == "/fleet/robot/segmenter/confidence"


def test_the_file_in_config_is_the_demos(capsys):
    assert main(["nav2", str(DEMO)]) == 0
    assert capsys.readouterr().out == (ROOT / "config" / "nav2_costmap.yaml").read_text()
