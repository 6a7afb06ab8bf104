"""The tutorial's commands, run as they are written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
PARTS = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)


def run(part, folder):
    """Run the blocks of one part of the page; return what they print."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PARTS[part], re.M | re.S)
    assert blocks
    script = "\n".join(['semla() { "$PYTHON" -m semla_ros "$@"; }', *blocks])
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHON": sys.executable, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def levels(folder):
    """Return support level -> frames of a replay."""
    summary = json.loads((folder / "results.json").read_text(encoding="utf-8"))["summary"]
    return summary["support"]["levels"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("sklearn", reason="needs scikit-learn: pip install '.[evaluate]'")
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install '.[evaluate]'")
    made = tmp_path_factory.mktemp("tutorial")
    (made / "models").symlink_to(ROOT / "models")
    return made


@pytest.fixture(scope="module")
def after_library(folder):
    """Return the folder after parts 1 to 3, and what they print."""
    return folder, [run(part, folder) for part in (1, 2, 3)]


def test_from_a_recording_to_a_library_of_ones_own(after_library):
    folder, (_, evaluated, library) = after_library
    assert "semla-gated" in evaluated
    assert (folder / "replayed" / "index.html").is_file()
    assert (folder / "study" / "index.html").is_file()
    assert (folder / "tuned" / "params.yaml").is_file()
    assert "a street on a snowy night" in library
    assert "attention needed: nothing" in library


def test_what_the_tutorial_says_of_support(after_library):
    folder, _ = after_library
    before, after = levels(folder / "before"), levels(folder / "after")
    assert before["OUT_OF_LIBRARY"] >= sum(before.values()) - 3
    assert after["OK"] > sum(after.values()) / 2
    assert "OUT_OF_LIBRARY" not in after


@pytest.mark.ros
def test_the_same_live(after_library):
    pytest.importorskip("rclpy", reason="rclpy is missing: run scripts/setup, or source ROS 2")
    folder, _ = after_library
    assert "common frames have equal masks" in run(4, folder)
    assert (folder / "live" / "live.mcap").is_file()
