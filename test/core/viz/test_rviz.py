"""RViz gets the names that the node's topics really have."""

from pathlib import Path

import pytest
import yaml

from semla_ros.core.viz.rviz import rviz_config

TEMPLATE = (Path(__file__).resolve().parents[3] / "config" / "semla.rviz").read_text()


def topics(**given):
    """Display -> topic of the configuration as RViz reads it."""
    text = rviz_config(TEMPLATE, **given)
    displays = yaml.safe_load(text)["Visualization Manager"]["Displays"]
    return {each["Name"]: each["Topic"]["Value"] for each in displays}


@pytest.mark.parametrize("namespace", ["", "/", "robot", "/fleet/robot/"])
def test_every_display_follows_the_namespace(namespace):
    found = topics(namespace=namespace, image="image", transport="raw")
    prefix = {"": "", "/": "", "robot": "/robot", "/fleet/robot/": "/fleet/robot"}[namespace]
    assert found == {
        "Camera": f"{prefix}/image",
        "Overlay": f"{prefix}/segmenter/overlay",
        "Mask": f"{prefix}/segmenter/mask_color",
        "Confidence": f"{prefix}/segmenter/confidence",
        "Legend": f"{prefix}/segmenter/legend",
        "Status": f"{prefix}/segmenter/status",
    }


@pytest.mark.parametrize(
    ("transport", "expected"),
    [("raw", "/front/image_raw"), ("compressed", "/front/image_raw/compressed")],
)
def test_the_camera_is_taken_in_the_nodes_transport(transport, expected):
    found = topics(namespace="robot", image="/front/image_raw", transport=transport)
    assert found["Camera"] == expected
    assert found["Mask"] == "/robot/segmenter/mask_color"


def test_no_fixed_frame_is_asked_for():
    manager = yaml.safe_load(TEMPLATE)["Visualization Manager"]
    assert manager["Transformation"] == {"Current": {"Class": "rviz_common/Identity"}}
