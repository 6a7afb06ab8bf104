"""The fusion benchmark measures what it says, and both ways reach the same weights."""

import importlib.util

import numpy as np
import pytest

from semla_ros.bench import library_scale
from semla_ros.bench.fusion import CASES, fusion_costs, semla_vit_l, vit_b_linears
from semla_ros.bundle import GraphWeight

SMALL = tuple(
    GraphWeight(name, name, "segmentation", name, True, shape)
    for name, shape in {"fc": (48, 12), "proj": (12, 48), "out": (12, 12)}.items()
)


def test_the_cases_are_the_documented_ones():
    values = sum(np.prod(layer.shape) for layer in vit_b_linears())
    assert len(vit_b_linears()) == 72
    assert values == 84_934_656
    names = [layer.name for layer in semla_vit_l()]
    assert not [name for name in names if name.endswith(("q_proj", "k_proj", "v_proj"))]
    assert len(semla_vit_l(inert=True)) + len(names) == 214, "as in SemLA's published files"
    assert set(CASES) == {"vit_b_72_linears", "semla_vit_l", "demo_bundle"}


def test_peft_reaches_the_same_weights():
    pytest.importorskip("torch", reason="needs PyTorch")
    if importlib.util.find_spec("peft") is None:
        pytest.skip("needs peft")
    inert = (GraphWeight("q_proj", "q", "segmentation", "q", True, (12, 12)),)
    found = fusion_costs(SMALL, 2, peft=True, inert=inert)
    assert (found["layers"], found["inert_layers_of_peft"]) == (3, 1)
    assert found["largest_difference_to_peft"] < 1e-6
    for key in ("memcpy", "ours", "torch_cpu"):
        assert 0 < found[key]["min"] <= found[key]["median"]
        assert found[key]["cpu_min"] >= 0
    steps = {k: v for k, v in found["peft"].items() if k != "to_merged_state"}
    total = found["peft"]["to_merged_state"]["min"]
    assert total >= sum(step["min"] for step in steps.values())


def test_without_peft_nothing_of_it_is_measured():
    assert "peft" not in fusion_costs(SMALL, 1, peft=False)


def test_a_library_of_links_opens(tmp_path):
    found = library_scale.library_costs(tmp_path, SMALL, domains=7)
    assert found["domains"] == 7
    assert found["memory_used_mib"] == pytest.approx(7 * found["adapter_mib"])
    assert found["open_ms"] > 0


def test_retrieval_is_measured_to_the_mix(monkeypatch):
    monkeypatch.setattr(library_scale, "CENTROIDS", 400)
    found = library_scale.retrieval_costs(repeats=1)
    assert found["centroids"] == 400
    assert {"euclidean_to_mix", "cosine_to_mix", "novelty"} <= set(found)
