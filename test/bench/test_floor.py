"""The floor: work counted right, rates positive, a row for each engine that works."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the floor is counted with PyTorch")

from semla_ros.bench.floor import FloorRequest, run_floor
from semla_ros.bench.record import save_record
from semla_ros.bench.roofline import processor_of, work_of
from semla_ros.cli import main
from semla_ros.core.errors import ConfigError, EngineUnavailableError


@pytest.fixture(scope="module")
def processor():
    return processor_of(threads=1)


def test_the_image_towers_products_are_counted_as_one_does_by_hand(tiny):
    """ViT of 8 px patches, width 64, three layers; attention and patches come on top."""
    work = work_of(tiny)
    tokens, width, layers = (tiny.manifest.segmentation.size // 8) ** 2 + 1, 64, 3
    linears = layers * 2 * tokens * width * width * (3 + 1 + 4 + 4)
    assert linears < work.gflop_clip * 1e9 < 1.3 * linears
    assert work.gflop > work.gflop_clip > 0
    assert 0 < work.weight_gb < 0.01


def test_more_classes_are_more_work(tiny):
    from dataclasses import replace

    from semla_ros.core.types import Vocabulary

    names = tuple(f"c{i}" for i in range(40))
    many = Vocabulary(names, np.zeros((40, 3), np.uint8))
    larger = replace(tiny, manifest=replace(tiny.manifest, vocabulary=many))
    assert work_of(larger).gflop > 2 * work_of(tiny).gflop


def test_rates_are_those_of_a_processor(processor):
    assert set(processor.peak_gflops) == {"f32", "bf16", "f16"}
    assert processor.peak_gflops["f32"] > 1
    assert 0.1 < processor.copy_gb_s < 10_000


def test_a_row_for_each_engine_and_a_note_for_each_other(tiny, tmp_path, processor, monkeypatch):
    monkeypatch.setattr("semla_ros.bench.floor.processor_of", lambda *, threads: processor)
    request = FloorRequest(
        bundle=tiny.root, engines=("onnx", "onnx:bf16", "torch"), frames=2, threads=1
    )
    record = run_floor(request, command="semla bench floor")
    assert [row["engine"] for row in record.rows] == ["onnx:f32", "torch:f32"]
    (left_out,) = [note for note in record.notes if note.startswith("Left out")]
    assert "onnx:bf16" in left_out
    for row in record.rows:
        assert row["network_cpu_ms_min"] > row["floor_ms"] > 0
        assert row["times_floor"] == pytest.approx(row["network_cpu_ms_min"] / row["floor_ms"])
        assert row["frame_cpu_ms_p50"] > 0
        assert row["gflops"] < row["peak_gflops"]
    save_record(record, tmp_path / "floor.json")
    stored = json.loads((tmp_path / "floor.json").read_text())
    assert all(row["frame_ms_min"] <= row["frame_ms_p50"] for row in stored["rows"])


def test_without_any_engine_it_says_why(tiny, processor, monkeypatch):
    monkeypatch.setattr("semla_ros.bench.floor.processor_of", lambda *, threads: processor)
    request = FloorRequest(bundle=tiny.root, engines=("onnx:bf16",), frames=1)
    with pytest.raises(EngineUnavailableError, match="bf16"):
        run_floor(request, command="")


@pytest.mark.parametrize("change", [{"frames": 0}, {"shapes": "vit-g"}, {"engines": ()}])
def test_wrong_requests_are_refused(change):
    with pytest.raises(ConfigError, match="expected frames"):
        FloorRequest(**change)


def test_the_verb_needs_a_place_to_write(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "floor"])
    assert "--out" in capsys.readouterr().err
