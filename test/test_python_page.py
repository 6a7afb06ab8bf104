"""The door of the package: names come when they are asked for, and its page runs as written."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import semla_ros
from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.writer import BagWriter

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


@pytest.fixture
def files(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in range(4):
            rgb = rng.integers(0, 256, (60, 80, 3), np.uint8)
            stamp = 10**18 + i * 2 * 10**8
            bag.write("/camera", IMAGE, image_fields(rgb, stamp_ns=stamp, frame_id="c"), stamp)
    cv2.imwrite(str(tmp_path / "street.png"), rgb)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_runs_as_it_is_written(files, capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    told, names = [], {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
        told.append(capsys.readouterr().out)
    assert told[0].count("(60, 80)") == 4
    assert "results.json" in told[2]
    assert (files / "replayed" / "index.html").exists()
    assert "nowhere" in told[3]


def test_everything_offered_is_there_and_nothing_else():
    for name in semla_ros.__all__:
        assert getattr(semla_ros, name).__doc__
    assert set(semla_ros.__all__) <= set(dir(semla_ros))
    with pytest.raises(AttributeError, match="no attribute 'opn_bundle'"):
        semla_ros.opn_bundle  # noqa: B018


def test_the_stub_says_the_same():
    stub = Path(semla_ros.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    assert set(re.findall(r"import (\w+) as \1", stub)) == set(semla_ros.__all__)


def test_importing_the_package_imports_nothing_else():
    code = "import sys, semla_ros; sys.exit(bool({'numpy', 'cv2', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
