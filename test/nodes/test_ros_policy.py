"""The SROS 2 policy names what the running node has, no more and no less."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from semla_ros.nodes.segmenter_node import NODE_NAME

POLICY = Path(__file__).resolve().parents[2] / "config" / "security" / "policy.xml"
CAMERA = "/camera/image_raw"
HINTS = {f"/{NODE_NAME}/hint", f"/{NODE_NAME}/hint_stamped"}
SIMULATED = {"/clock"}
"""Topics the node subscribes only with use_sim_time."""


def rules(enclave):
    """Return (kind, verb) -> names of one enclave, `~` and relative names resolved."""
    (found,) = (
        each for each in ElementTree.parse(POLICY).iter("enclave") if each.get("path") == enclave
    )
    named = {}
    for profile in found.iter("profile"):
        for group in profile:
            for verb, qualifier in group.attrib.items():
                assert qualifier == "ALLOW"
                names = [item.text.replace("~", f"/{profile.get('node')}") for item in group]
                assert len(names) == len(set(names))
                named.setdefault((group.tag, verb), set()).update(names)
    return named


def of(listed):
    return {name for name, _ in listed}


@pytest.fixture
def graph(robot, wait):
    """(kind, verb) -> names that the active node has on the graph."""
    with robot() as it:
        node, at = it.node, (NODE_NAME, "/")
        wait(
            lambda: f"/{NODE_NAME}/mask" in of(node.get_publisher_names_and_types_by_node(*at)),
            "the node's publishers",
        )
        return {
            ("topics", "publish"): of(node.get_publisher_names_and_types_by_node(*at)),
            ("topics", "subscribe"): of(node.get_subscriber_names_and_types_by_node(*at)),
            ("services", "reply"): of(node.get_service_names_and_types_by_node(*at)),
            ("services", "request"): of(node.get_client_names_and_types_by_node(*at)),
        }


def test_the_node_may_do_what_it_does_and_nothing_else(graph):
    allowed = rules("/semla/segmenter")
    assert allowed[("topics", "publish")] == graph[("topics", "publish")]
    assert allowed[("services", "reply")] == graph[("services", "reply")]
    assert allowed.get(("services", "request"), set()) == graph[("services", "request")] == set()
    extra = allowed[("topics", "subscribe")] - graph[("topics", "subscribe")]
    assert graph[("topics", "subscribe")] == {CAMERA, *HINTS}
    assert extra == {f"{CAMERA}/compressed", *SIMULATED}


def test_simulated_time_and_compressed_images_need_no_other_topics(robot):
    with robot(use_sim_time=True, image_transport="compressed") as it:
        heard = of(it.node.get_subscriber_names_and_types_by_node(NODE_NAME, "/"))
    assert heard <= rules("/semla/segmenter")[("topics", "subscribe")]
    assert heard == {f"{CAMERA}/compressed", *SIMULATED, *HINTS}


def test_a_planner_reads_what_is_published_and_orders_nothing(graph):
    allowed = rules("/semla/planner")
    own = {"/parameter_events", "/rosout", *HINTS}
    assert allowed[("topics", "subscribe")] <= graph[("topics", "publish")]
    assert allowed[("topics", "publish")] == own
    assert ("services", "request") not in allowed


def test_only_the_camera_may_feed_the_node():
    enclaves = [each.get("path") for each in ElementTree.parse(POLICY).iter("enclave")]
    feeding = [e for e in enclaves if CAMERA in rules(e).get(("topics", "publish"), ())]
    assert feeding == ["/semla/camera"]
    ordering = [e for e in enclaves if ("services", "request") in rules(e)]
    assert ordering == ["/semla/operator"]
