"""`semla bench family` through the live node, on a small closed bundle."""

from importlib.util import find_spec

import pytest
from closed_bundle import closed_bundle

from semla_ros.bench.family_node import node_rows
from semla_ros.bundle import open_bundle

MISSING = [name for name in ("rclpy", "semla_ros.msg", "vision_msgs") if find_spec(name) is None]


@pytest.mark.ros
@pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}")
def test_every_engine_is_run_quiet_and_swapping(tmp_path):
    bundle = open_bundle(closed_bundle(tmp_path / "bundle"))
    rows = node_rows(bundle, ["onnx:f32"], threads=1, seconds=1.0, scratch=tmp_path)
    assert [row["phase"] for row in rows] == ["quiet", "swapping"]
    for row in rows:
        assert row["masks_hz"] > 0
        assert row["p50_ms"] > 0
    assert rows[1]["swaps"] > 0
