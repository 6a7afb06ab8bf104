"""The GPU check on a simulated GPU: every question is asked, every row is written."""

import json

import pytest
from simulated_gpu.machine import simulate
from small_bundle import small_bundle

from semla_ros.bench.gpu.__main__ import EXIT_MISSING, main, measured
from semla_ros.bench.gpu.bench import GpuCheck
from semla_ros.bundle import open_bundle


@pytest.fixture
def bundle(tmp_path):
    return open_bundle(small_bundle(tmp_path / "bundle"))


@pytest.mark.parametrize("version", ["8.5.3.1", "10.13.3.9", "11.4.0.106"])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_every_question_gets_its_rows(bundle, tmp_path, monkeypatch, version, precision):
    simulation = simulate(version, monkeypatch, tmp_path)
    check = GpuCheck(
        bundle, precision=precision, runs=3, seconds=0.2, folder=tmp_path, likeness=-1.0
    )
    rows = measured(check)
    assert not [
        row["error"] for row in rows if "error" in row and "CUDA graph" not in row["group"]
    ]
    groups = {row["group"] for row in rows}
    assert groups == {
        "frame latency",
        "copy and refit",
        "frame with post-processing",
        "swap, fusing apart",
        "frame at 30 Hz",
        "CUDA graph after refit",
    }
    swaps = [row for row in rows if row["group"] == "swap, fusing apart"]
    assert all(row["there_and_back_bit_equal"] for row in swaps)
    assert {row["variant"] for row in rows if row["group"] == "frame latency"} == {
        "constant",
        "refit",
        "refit_all",
        "factors",
    }
    busy = [row for row in rows if "without a pause" in row["variant"]]
    assert len(busy) == 3
    assert all(row["swaps"] > 0 and row["count"] == 6 for row in busy)
    assert all(row["golden_error"] < 2e-2 for row in rows if "golden_error" in row)
    assert simulation.driver.left == (0, 0, 0, 0, 0)


def test_the_record_is_written(bundle, tmp_path, monkeypatch):
    simulate("10.13.3.9", monkeypatch, tmp_path)
    out = tmp_path / "gpu.json"
    arguments = ["--bundle", str(bundle.root), "--out", str(out), "--runs", "2"]
    main([*arguments, "--seconds", "0.1", "--cache", str(tmp_path)])
    record = json.loads(out.read_text())
    assert (record["gpu"], record["tensorrt"]) == ("Fake GPU", "10.13.3.9")
    assert record["command"].startswith("scripts/gpu_check --bundle")
    assert len(record["rows"]) >= 15
    assert record["notes"]


def test_without_a_gpu_it_says_what_is_missing(bundle, tmp_path, monkeypatch, caplog):
    simulation = simulate("10.13.3.9", monkeypatch, tmp_path)
    simulation.driver.devices = 0
    out = tmp_path / "gpu.json"
    assert main(["--bundle", str(bundle.root), "--out", str(out)]) == EXIT_MISSING
    assert "expected an NVIDIA GPU number 0, the driver sees 0" in caplog.text
    assert not out.exists()
