"""The fusion benchmark measures what it says, and both ways reach the same weights."""

import importlib.util

import numpy as np
import pytest

from semla_ros.bench import library_scale
from semla_ros.bench.fusion import fusion_costs, semla, vit_b_linears
from semla_ros.bundle import GraphWeight
from semla_ros.network.config import VIT_L, CatSegConfig

SMALL = tuple(
    GraphWeight(name, name, "segmentation", name, True, shape)
    for name, shape in {"fc": (48, 12), "proj": (12, 48), "out": (12, 12)}.items()
)


def test_the_cases_are_the_documented_ones():
    values = sum(np.prod(layer.shape) for layer in vit_b_linears())
    assert len(vit_b_linears()) == 72
    assert values == 84_934_656
    for config, whole in ((CatSegConfig(), 154), (VIT_L, 214)):
        names = [layer.name for layer in semla(config)]
        assert not [name for name in names if name.endswith(("q_proj", "k_proj", "v_proj"))]
        assert len(semla(config, inert=True)) + len(names) == whole, "as in the published files"


def test_peft_reaches_the_same_weights():
    pytest.importorskip("torch", reason="needs PyTorch")
    if importlib.util.find_spec("peft") is None:
        pytest.skip("needs peft")
    inert = (GraphWeight("q_proj", "q", "segmentation", "q", True, (12, 12)),)
    rows = fusion_costs(SMALL, 2, threads=(1, 2), peft=True, inert=inert)
    assert [row["threads"] for row in rows] == [1, 2]
    for row in rows:
        assert row["difference_to_peft"] < 1e-6
        for way in ("memcpy", "ours", "doubled_rank", "torch_cpu", "peft"):
            assert 0 < row[f"{way}_least_ms"] <= row[f"{way}_ms"]
        assert row["peft_over_ours"] == row["peft_ms"] / row["ours_ms"]
        assert row["doubled_rank_over_ours"] == row["doubled_rank_ms"] / row["ours_ms"]
        assert row["million_values"] == (2 * 48 * 12 + 12 * 12) / 1e6


def test_without_peft_nothing_of_it_is_measured():
    (row,) = fusion_costs(SMALL, 1, peft=False)
    assert not [key for key in row if "peft" in key]


def test_a_library_of_links_opens(tmp_path):
    rows = library_scale.library_costs(tmp_path, SMALL, domains=7)
    found = {row["figure"]: row["value"] for row in rows}
    assert found["domains"] == 7
    assert found["memory_used_mib"] == pytest.approx(7 * found["adapter_mib"])
    assert found["open_ms"] > 0


def test_retrieval_is_measured_to_the_mix(monkeypatch):
    monkeypatch.setattr(library_scale, "CENTROIDS", 400)
    found = {row["figure"]: row["value"] for row in library_scale.retrieval_costs(repeats=1)}
    assert found["centroids"] == 400
    for way in ("euclidean_to_mix", "cosine_to_mix", "novelty", "observation"):
        assert 0 < found[f"{way} min"] <= found[f"{way} median"]
