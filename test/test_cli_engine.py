"""`semla engine`: the list with its reasons, and building on a simulated GPU."""

import pytest
from simulated_gpu.machine import simulate
from small_bundle import small_bundle

from semla_ros.cli import main


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return small_bundle(tmp_path / "bundle")


def test_the_list_gives_every_engine_or_the_reason(root, monkeypatch, tmp_path, capsys):
    simulate("11.4.0.106", monkeypatch, tmp_path)
    assert main(["engine", "list", str(root), "--threads", "1"]) == 0
    said = capsys.readouterr().out
    rows = {line.split()[0]: line for line in said.splitlines() if not line.startswith(" ")}
    assert {"tensorrt", "openvino", "onnx", "torch", "fake", "TensorRT"} <= rows.keys()
    assert "f32 on cpu" in rows["onnx"]
    assert "no: engine 'tensorrt': expected a plan" in rows["tensorrt"]
    assert "  fp16_flag: no" in said


def test_building_says_what_came_of_it(root, monkeypatch, tmp_path, capsys):
    simulation = simulate("10.13.3.9", monkeypatch, tmp_path)
    folder = tmp_path / "plans"
    arguments = ["engine", "build", str(root), "--cache", str(folder), "--threads", "1"]
    assert main([*arguments, "--mode", "inputs", "--classes", "2:4:6"]) == 0
    said = capsys.readouterr().out
    assert "served as  inputs, inputs" in said
    assert "with nudged weights, against ONNX Runtime" in said
    assert "navigator  " in said
    assert len(list(folder.glob("*.plan"))) == 2
    assert main([*arguments, "--precision", "fp32", "--no-navigator"]) == 0
    assert "served as  refit, double" in capsys.readouterr().out
    assert len(simulation.trt.built) == 3


@pytest.mark.parametrize(
    ("extra", "told"),
    [(["--classes", "9:4:1"], "low <= best"), (["--typing", "strong"], "TensorRT 9")],
)
def test_what_cannot_be_built_is_one_line(root, monkeypatch, tmp_path, capsys, extra, told):
    simulate("8.5.3.1", monkeypatch, tmp_path)
    assert main(["engine", "build", str(root), *extra]) == 2
    assert told in capsys.readouterr().err
