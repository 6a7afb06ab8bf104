"""The whole way once: a real node, a real stopwatch, real DDS, the record with its keys."""

import json
from importlib.util import find_spec

import pytest

from semla_ros.bench.frames import film, write_camera
from semla_ros.bench.node_bench import NodeBenchRequest, run_node_bench
from semla_ros.bench.node_record import node_record
from semla_ros.bench.processes import Setup, live_node, setups_of
from semla_ros.bench.record import save_record
from semla_ros.core.errors import ConfigError, SemlaError

MISSING = [name for name in ("rclpy", "semla_ros.msg", "vision_msgs") if find_spec(name) is None]
needs_ros = pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}")


@pytest.fixture
def images(tmp_path):
    import cv2
    import numpy as np

    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    return folder


@pytest.mark.ros
@needs_ros
def test_the_live_node_is_measured(tiny, images, tmp_path):
    request = NodeBenchRequest(
        rates=(5.0,),
        peak=False,
        seconds=3.0,
        repeats=1,
        source=images,
        changes={"bundle": str(tiny.root), "engine": "fake"},
    )
    bench = run_node_bench(request, logs=tmp_path / "logs")
    quiet, swapping = bench.measured
    assert (quiet.phase, swapping.phase) == ("quiet", "swapping")
    run = quiet.runs[0]
    assert len(run.sent_ns) == 15
    assert len(run.arrived) >= 5, "a busy machine may lose frames, not most of them"
    assert set(run.stages) <= set(run.sent_ns)
    for stages in run.stages.values():
        assert {"receive", "queue", "decode", "infer", "publish", "age_at_publish"} <= set(stages)
        assert all(ms >= 0 for ms in stages.values())
    assert any(done for _, _, done, _ in swapping.runs[0].orders)
    record = node_record(request, bench, command="semla bench node")
    save_record(record, tmp_path / "node.json")
    content = json.loads((tmp_path / "node.json").read_text())
    assert [row["stale"] for row in content["rows"]] == [0, 0]
    relayed = bench.relayed[5.0]
    assert len(relayed.arrived) >= 5
    assert {stages["infer"] for stages in relayed.stages.values()} == {0.0}
    assert content["rows"][0]["relay_p50_ms"] > 0
    assert [table["title"] for table in content["tables"]]


@pytest.mark.ros
@needs_ros
def test_a_node_that_does_not_come_up_is_told_from_its_own_words(images, tmp_path):
    write_camera(film(images).frames, tmp_path / "camera.mcap", compressed=False)
    changes = {"bundle": str(tmp_path / "nowhere")}
    setup = Setup("raw", "single", "shm")
    with (
        pytest.raises(SemlaError, match="expected a model bundle"),
        live_node(tmp_path / "camera.mcap", setup, changes=changes, logs=tmp_path / "logs"),
    ):
        pytest.fail("the context must not open")


def test_setups_vary_one_thing_at_a_time():
    found = setups_of(["raw", "compressed"], ["single", "events"], ["shm"])
    assert [str(each) for each in found] == [
        "raw, single, shm",
        "compressed, single, shm",
        "raw, events, shm",
    ]
    with pytest.raises(ConfigError, match="executor"):
        setups_of(["raw"], ["threaded"], ["shm"])


@pytest.mark.parametrize(
    "wrong", [{"rates": (), "peak": False}, {"rates": (0.0,)}, {"repeats": 0}, {"loss": 1.0}]
)
def test_what_cannot_be_measured_is_refused(wrong):
    with pytest.raises(ConfigError):
        NodeBenchRequest(**wrong)
