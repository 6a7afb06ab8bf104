"""`semla bench family` on a small closed bundle: every way is run, refusals are said."""

import json

import pytest
from closed_bundle import closed_bundle
from small_bundle import small_bundle

from semla_ros.bench import family
from semla_ros.bench.family import (
    PLAIN,
    FamilyRequest,
    _plain,
    _plain_openvino,
    run_family,
)
from semla_ros.bundle import open_bundle
from semla_ros.cli import main
from semla_ros.core.errors import ConfigError

pytest.importorskip("onnx", reason="needs onnx: scripts/setup --dev")


def test_every_way_is_timed_and_what_cannot_run_is_named(tmp_path):
    bundle, out = closed_bundle(tmp_path / "bundle"), tmp_path / "family.json"
    engines = "onnx:f32,torch:f32"
    options = ("--engines", engines, "--frames", "3", "--threads", "1", "--out", str(out))
    assert main(["bench", "family", "--bundle", str(bundle), *options]) == 0
    record = json.loads(out.read_text())
    rows = {row["way"]: row for row in record["rows"]}
    assert set(rows) == {"onnx:f32", "onnx:f32 swapping", PLAIN}
    assert all(row["frames"] == 3 and row["ms_p50"] > 0 for row in rows.values())
    assert any("Left out torch:f32" in note for note in record["notes"])


def test_the_live_node_is_only_started_with_engines_that_run_here(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(
        family, "node_rows", lambda _, engines, **__: started.extend(engines) or [{"a": 1}]
    )
    engines = ("torch:f32", "onnx:f32")
    bundle = closed_bundle(tmp_path / "bundle")
    request = FamilyRequest(bundle, engines=engines, frames=1, threads=1, node_seconds=1.0)
    record = run_family(request, command="")
    assert started == ["onnx:f32"]
    assert record.extra["tables"][0]["rows"] == [{"a": 1}]


def test_the_plain_way_gives_the_engines_own_labels(tmp_path):
    import numpy as np

    pytest.importorskip("openvino", reason="needs openvino: scripts/setup --dev")
    from semla_ros.engine import create_engine
    from semla_ros.engine.golden import golden_case

    bundle = open_bundle(closed_bundle(tmp_path / "bundle"))
    rgb = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    weight_set, _ = golden_case(bundle, feature_dim=0)
    base = type(weight_set)(
        weight_set.mix,
        type(weight_set.weights)({}),
        weight_set.text_features,
        weight_set.vocabulary,
    )
    with create_engine("onnx", bundle, threads=1) as engine:
        engine.prepare(base)
        engine.commit()
        labels = engine.infer(rgb).labels
    for plain in (_plain, _plain_openvino):
        assert (plain(bundle, threads=1)(rgb) == labels).mean() > 0.999


def test_an_open_class_list_is_refused(tmp_path):
    request = FamilyRequest(small_bundle(tmp_path / "open"))
    with pytest.raises(ConfigError, match="closed class list"):
        run_family(request, command="")


def test_a_made_network_is_measured_beside_transformers(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
    pytest.importorskip("transformers", reason="needs transformers: scripts/setup --dev")
    from semla_ros.bench import made_family
    from semla_ros.bench.family import EAGER

    small = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 40, 64], "decoder_hidden_size": 16}
    monkeypatch.setattr(made_family, "SHAPES", {"segformer-b0": small})
    out = tmp_path / "family.json"
    options = ("--size", "64x96", "--engines", "onnx:f32", "--frames", "2", "--threads", "1")
    command = ["bench", "family", "--shape", "segformer-b0", *options, "--out", str(out)]
    assert main(command) == 0
    record = json.loads(out.read_text())
    assert "96x64" in record["title"]
    rows = {row["way"] for row in record["rows"]}
    assert rows == {"onnx:f32", "onnx:f32 swapping", PLAIN, EAGER}


def test_a_network_of_queries_is_made_square(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
    pytest.importorskip("transformers", reason="needs transformers: scripts/setup --dev")
    pytest.importorskip("openvino", reason="needs openvino: scripts/setup --dev")
    from semla_ros.bench import made_family
    from semla_ros.bench.family import EAGER, PLAIN_OPENVINO

    small = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    small |= {"num_blocks": 2, "num_queries": 6}
    monkeypatch.setattr(made_family, "SHAPES", {"eomt-s": small})
    common = {"engines": ("openvino:f32",), "frames": 1, "threads": 1, "shape": "eomt-s"}
    record = run_family(FamilyRequest(None, size=(64, 64), **common), command="")
    rows = {row["way"] for row in record.rows}
    assert rows == {"openvino:f32", "openvino:f32 swapping", PLAIN, PLAIN_OPENVINO, EAGER}
    with pytest.raises(ConfigError, match="a square image"):
        run_family(FamilyRequest(None, size=(64, 96), **common), command="")


def test_a_shape_that_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match=r"shape of \('segformer-b0', .*got 'b9'"):
        run_family(FamilyRequest(None, shape="b9"), command="")
