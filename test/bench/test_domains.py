"""A demo bundle with another navigator: what only the old one could read is not there."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")

from semla_ros.bench.domains import _navigator, with_navigator
from semla_ros.bundle import open_bundle

DEMO = Path(__file__).resolve().parents[2] / "models" / "demo"


@pytest.mark.parametrize("features", ["embedding", "statistics", "segmenter"])
def test_another_navigator_brings_neither_words_nor_text_half(features, tmp_path):
    bundle = open_bundle(DEMO, verify=False)
    made = with_navigator(bundle, _navigator(bundle, features), tmp_path / "made")
    assert not made.navigator_text.is_file()
    assert not (made.root / "navigator_prompts.npz").is_file()
    assert made.navigator_text.name not in made.manifest.files
    assert made.navigator_graph.is_file()
    old, new = (b.manifest.navigator.identity for b in (bundle, made))
    assert (old == new) == (features == "embedding")
