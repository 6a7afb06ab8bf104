"""The GPU check on a scripted GPU: every row is written, figures are not judged."""

import json

import pytest
from scripted_gpu import install
from small_bundle import small_bundle

from semla_ros.bench.gpu import EXIT_MISSING, GpuCheck, main, measured
from semla_ros.bundle import open_bundle


@pytest.fixture
def root(tmp_path):
    return small_bundle(tmp_path / "bundle")


def test_inputs_and_refit_are_measured_alike(root, tmp_path, monkeypatch):
    gpu = install(monkeypatch, tmp_path)
    rows = measured(GpuCheck(open_bundle(root), runs=3, seconds=0.2))
    names = [(row["group"], row["variant"]) for row in rows]
    assert names == [
        (group, f"{mode}{more}")
        for mode in ("inputs", "refit")
        for group, more in (
            ("frame", ""),
            ("swap, fusing apart", ""),
            ("frame at 30 Hz", ", quiet"),
            ("frame at 30 Hz", ", swapping without a pause"),
        )
    ]
    for frame, swap, _, busy in (rows[:4], rows[4:]):
        assert frame["golden_error"] < 2e-2
        assert frame["changed_error"] < 1e-3
        assert swap["back_bit_equal"]
        assert swap["kept_bytes_each"] == 0
        assert busy["swaps"] > 0
    assert gpu.driver.left == (0, 0, 0, 0)


def test_one_that_cannot_be_had_leaves_a_row_that_says_why(root, tmp_path, monkeypatch):
    install(monkeypatch, tmp_path, "8.5.3.1")
    rows = measured(GpuCheck(open_bundle(root), runs=2, seconds=0.1))
    assert [row["variant"] for row in rows if "error" not in row] == [
        "inputs",
        "inputs",
        "inputs, quiet",
        "inputs, swapping without a pause",
    ]
    assert "10.2 or newer" in rows[-1]["error"]


def test_the_record_is_written(root, tmp_path, monkeypatch):
    install(monkeypatch, tmp_path)
    out = tmp_path / "gpu.json"
    arguments = ["--bundle", str(root), "--out", str(out), "--runs", "2", "--seconds", "0.1"]
    assert main(arguments) == 0
    record = json.loads(out.read_text())
    assert (record["gpu"], record["tensorrt"]) == ("Fake GPU", "10.13.3.9")
    assert record["command"].startswith("scripts/gpu_check --bundle")
    assert len(record["rows"]) == 8
    assert record["notes"]


def test_without_a_gpu_it_says_what_is_missing(root, tmp_path, monkeypatch, caplog):
    install(monkeypatch, tmp_path).driver.devices = 0
    out = tmp_path / "gpu.json"
    assert main(["--bundle", str(root), "--out", str(out)]) == EXIT_MISSING
    assert "expected an NVIDIA GPU, the driver sees none" in caplog.text
    assert not out.exists()
