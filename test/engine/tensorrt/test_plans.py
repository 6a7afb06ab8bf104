"""Plans on disk: what makes two the same, and what is believed."""

import os
from dataclasses import replace

import pytest

from semla_ros.core.errors import BundleError, EngineError
from semla_ros.engine.tensorrt import plans
from semla_ros.engine.tensorrt.plans import (
    PlanRequest,
    drop_plan,
    graph_sha256,
    load_plan,
    plan_folder,
    plan_path,
    store_plan,
)

PLATFORM = {"tensorrt": "10.13.3.9", "gpu": "Orin", "compute_capability": "8.7", "cuda": "12"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return plan_folder()


@pytest.fixture
def wanted(hand_made):
    return PlanRequest.segmentation(hand_made.bundle, "inputs", "auto")


@pytest.fixture
def facts(wanted):
    return wanted.facts(PLATFORM)


def test_what_was_stored_is_loaded_and_can_be_dropped(facts, folder):
    assert load_plan(facts) is None
    for plan in (b"first\nline", b"\n\0second"):
        assert store_plan(facts, plan).parent == folder
        assert load_plan(facts) == plan
    assert len(list(folder.iterdir())) == 1
    drop_plan(facts)
    drop_plan(facts)
    assert load_plan(facts) is None


def test_another_model_machine_or_option_is_another_plan(wanted, facts):
    others = [wanted.facts({**PLATFORM, key: "other"}) for key in PLATFORM]
    others += [
        replace(wanted, **change).facts(PLATFORM)
        for change in ({"mode": "refit"}, {"precision": "f32"}, {"classes": 5})
    ]
    others.append({**facts, "graph_sha256": "other"})
    others.append({**facts, "schema": 0})
    assert len({plan_path(each) for each in (facts, *others)}) == len(others) + 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: content.replace(b"Orin", b"Xavi"),
        lambda content: b"",
        lambda content: b"[" * 10_000,
        lambda content: b"\xff" + content,
    ],
)
def test_a_damaged_plan_is_not_believed_and_goes(facts, damage):
    path = store_plan(facts, b"plan")
    path.write_bytes(damage(path.read_bytes()))
    assert load_plan(facts) is None
    assert not path.exists()


def test_what_a_crash_left_goes_with_the_next_plan(facts, folder):
    folder.mkdir(parents=True)
    old, young = folder / ".a.plan.partial", folder / ".b.plan.partial"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    store_plan(facts, b"plan")
    assert (old.exists(), young.exists()) == (False, True)


def test_the_plans_used_longest_ago_make_room(wanted, monkeypatch):
    each = [replace(wanted, classes=n).facts(PLATFORM) for n in range(1, 5)]
    paths = [store_plan(facts, bytes(1000)) for facts in each[:3]]
    for age, path in enumerate(paths):
        os.utime(path, (age, age))
    load_plan(each[0])
    monkeypatch.setattr(plans, "MAX_BYTES", 3 * paths[0].stat().st_size + 100)
    store_plan(each[3], bytes(1000))
    assert [path.exists() for path in paths] == [True, False, True]
    monkeypatch.setattr(plans, "MAX_BYTES", 0)
    store_plan(each[3], b"alone")
    assert load_plan(each[3]) == b"alone"


def test_a_folder_that_cannot_be_written_is_said(facts, folder):
    folder.parent.mkdir(parents=True)
    folder.write_text("no folder")
    with pytest.raises(EngineError, match="cannot write"):
        store_plan(facts, b"plan")
    assert load_plan(facts) is None


def test_external_data_belongs_to_the_graph(tmp_path):
    graph = tmp_path / "g.onnx"
    with pytest.raises(BundleError, match=r"expected the graph 'g\.onnx'"):
        graph_sha256(graph)
    graph.write_bytes(b"graph")
    sums = {graph_sha256(graph)}
    for content in (b"a", b"b"):
        (tmp_path / "g.onnx.data").write_bytes(content)
        sums.add(graph_sha256(graph))
    assert len(sums) == 3
