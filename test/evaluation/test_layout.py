"""The Foxglove layout: what each kind of recording holds is what its tab shows."""

import json
import re
from pathlib import Path

import pytest
from rosbags.highlevel import AnyReader

from semla_ros.data.bags.writer import BagWriter
from semla_ros.evaluation.live_result import CAMERA, NODE, RECORDED
from semla_ros.evaluation.sinks import PredictionSink

LAYOUT = json.loads(
    (Path(__file__).resolve().parents[2] / "config" / "semla_foxglove.json").read_text()
)
PANELS = LAYOUT["configById"]
TABS = {tab["title"]: tab["layout"] for tab in PANELS["Tab!views"]["tabs"]}
OF_THE_NODE = {f"{NODE}/{name}" for name in RECORDED} | {"/diagnostics"}
KINDS = {
    "Recording": OF_THE_NODE | {CAMERA},
    "Recording, compressed camera": OF_THE_NODE | {f"{CAMERA}/compressed"},
}


def leaves(tree):
    if isinstance(tree, str):
        return [tree]
    assert 0 < tree["splitPercentage"] < 100
    return [*leaves(tree["first"]), *leaves(tree["second"])]


def topics_of(tab):
    text = json.dumps([PANELS[panel] for panel in leaves(TABS[tab])])
    return set(re.findall(r'"(/[a-z_]+[a-z0-9_/]*)[."]', text))


@pytest.fixture
def replayed(support, tmp_path):
    """The topics of a replay's recording."""
    path = tmp_path / "predictions.mcap"
    with BagWriter(path) as bag:
        sink = PredictionSink(bag)
        for view in support.views(4):
            sink.add(view)
    with AnyReader([path]) as reader:
        return set(reader.topics)


@pytest.mark.parametrize("kind", KINDS)
def test_a_recordings_tab_is_full(kind):
    assert topics_of(kind) <= KINDS[kind]


def test_a_replays_tab_is_full(replayed):
    assert topics_of("Replay") <= replayed


def test_the_tab_that_opens_is_full_for_every_kind_and_shows_a_mask(replayed):
    first = [*TABS][PANELS["Tab!views"]["activeTabIdx"]]
    shown = topics_of(first)
    assert f"{NODE}/mask_color" in shown
    for kind in (*KINDS.values(), replayed):
        assert shown <= kind


def test_every_panel_has_one_place():
    placed = [leaf for tree in (LAYOUT["layout"], *TABS.values()) for leaf in leaves(tree)]
    assert sorted(placed) == sorted(PANELS)


def test_plots_go_by_the_time_of_arrival():
    """A drive's stamps may lie decades before the log's times; by them a plot is empty."""
    methods = re.findall(r'"timestampMethod": "(\w+)"', json.dumps(PANELS))
    assert set(methods) == {"receiveTime"}


def test_support_and_novelty_have_axes_of_their_own():
    units = {"score": "support", "smoothed_score": "support", "novelty": "novelty"}
    for name, panel in PANELS.items():
        if name.startswith("Plot!"):
            fields = {p["value"].rpartition(".")[2] for p in panel["paths"]}
            assert len({units.get(field) for field in fields}) == 1, name
