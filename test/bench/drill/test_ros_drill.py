"""One row of the drill, from a real node and a real probe to its verdict."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from semla_ros.bench.drill.run import PASSED, chosen, drill, row_of
from semla_ros.bench.drill.scratch import SIZE, mapped
from semla_ros.bench.drill.session import Session
from semla_ros.bench.drill.verdicts import silent

MISSING = [name for name in ("rclpy", "semla_ros.msg", "vision_msgs") if find_spec(name) is None]

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}"),
]


@pytest.fixture
def groups():
    """Return pictures that the small bundle takes for its domain `fog`."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(140, 166, (2, SIZE[0] // 8, SIZE[1] // 8, 3))
    return {"clear-day": np.kron(blocks, np.ones((1, 8, 8, 1), int)).astype(np.uint8)}


def test_a_row_passes_where_the_node_is_right_and_fails_where_it_is_not(small, groups):
    (fault,) = chosen(["unknown encoding"])
    short = replace(fault, seconds=3.5)
    steady = replace(fault, name="no fault", script=_nothing, expects=(silent(),), seconds=2.0)
    with Session(small, engine="fake", groups=groups) as session:
        right, wrong = drill(session, (short, steady))
        root, processes = session.pictures.parent, [session.pid]
        assert root.is_dir()
        assert mapped(session.pid), "the node talks through shared memory"
    assert right.verdict == PASSED, right.problems
    assert row_of(right)["wrong_masks"] == 0
    assert [p.split(":")[0] for p in wrong.problems] == ["no masks"]
    assert not root.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)


def _nothing(session):
    session.camera()
    yield
