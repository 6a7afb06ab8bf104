"""`semla engine`: the list with its reasons, and building on a scripted GPU."""

import pytest
from scripted_gpu import install
from small_bundle import small_bundle

from semla_ros.cli import main


@pytest.fixture
def root(tmp_path):
    return small_bundle(tmp_path / "bundle")


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path)


def test_the_list_gives_every_engine_or_the_reason(root, gpu, capsys):
    assert main(["engine", "list", str(root), "--threads", "1"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows.keys() == {"tensorrt", "openvino", "onnx", "torch", "fake"}
    assert "f32 on cpu" in rows["onnx"]
    assert "no: TensorRT: expected a plan" in rows["tensorrt"]


def test_building_says_what_came_of_it(root, gpu, capsys):
    assert main(["engine", "build", str(root)]) == 0
    said = capsys.readouterr().out
    assert "segmentation  f16, within " in said
    assert "navigator     f16" in said
    assert len(gpu.networks) == 2
    assert main(["engine", "build", str(root), "--precision", "f32", "--no-navigator"]) == 0
    assert "segmentation  f32" in capsys.readouterr().out
    assert len(gpu.networks) == 3
    assert main(["engine", "build", str(root), "--again", "--no-navigator"]) == 0
    assert len(gpu.networks) == 4
    assert main(["engine", "list", str(root), "--threads", "1"]) == 0
    assert "f16 on cuda  10.13.3.9 Fake GPU" in capsys.readouterr().out


def test_what_cannot_be_built_is_one_line(root, gpu, capsys):
    gpu.refuse.append("build_serialized_network")
    assert main(["engine", "build", str(root)]) == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "TensorRT" in each]
    assert "builds nothing" in line
