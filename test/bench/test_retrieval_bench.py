"""Other ways from embeddings to mixes: one small run, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
pytest.importorskip("sklearn", reason="needs scikit-learn: scripts/setup --dev")

from semla_ros.bench import retrieval
from semla_ros.bench.retrieval import RetrievalRequest, run_retrieval
from semla_ros.cli import main
from semla_ros.core.types import AdapterMix


def test_rules_are_held_against_semla(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "NULL_QUANTILES", (0.5,))
    monkeypatch.setattr(retrieval, "FITTED_EVERY", 24)
    monkeypatch.setattr(retrieval, "CENTROIDS", (1, 4))
    few = ("fog-day", "rain-night", "snow-day", "clear-day")
    record = run_retrieval(RetrievalRequest(scenes=1, sets=2, domains=few), command="c")
    assert {row["adapters"] for row in record.rows} == {4}
    rows = {str(row["retrieval"]): row for row in record.rows}
    assert list(rows) == [
        retrieval.SEMLA,
        retrieval.FITTED,
        retrieval.BUNDLED,
        "1 centroids a domain",
        "4 centroids a domain",
    ]
    assert 0 < float(str(rows[retrieval.SEMLA]["semla_leave_one_out"]).split()[0]) < 100
    # One centroid is the mean of the images that are kept: all of the demo's, hence SemLA itself.
    assert float(str(rows["1 centroids a domain"]["difference"]).split()[0]) == 0
    assert float(str(rows["4 centroids a domain"]["difference"]).split()[0]) != 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sets", "1"], "sets >= 2"),
        (["--domains", "fog-day,snow-day"], "three domains or more"),
        (["--domains", "fog-day,snow-day,mars"], "three domains or more"),
    ],
)
def test_too_little_is_refused_in_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "x.json")]
    assert main(["bench", "retrieval", *out, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_mixed_networks_are_weighted_means_of_all_weights() -> None:
    import torch

    from semla_ros.bench.full_mixes import mean_state

    members = {
        "a": {"w": torch.tensor([1.0, 3.0]), "n": torch.tensor(3)},
        "b": {"w": torch.tensor([5.0, 1.0]), "n": torch.tensor(3)},
    }
    mixed = mean_state(members, AdapterMix(("a", "b"), (0.75, 0.25)))
    np.testing.assert_allclose(mixed["w"].numpy(), [2.0, 2.5])
    assert mixed["n"].item() == 3
