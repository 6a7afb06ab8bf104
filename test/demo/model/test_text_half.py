"""A text half is tuned to the image half that a bundle has."""

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/setup --dev")
if importlib.util.find_spec("open_clip") is None:
    pytest.skip("needs open_clip_torch: scripts/setup --dev", allow_module_level=True)

from semla_ros.bundle import open_bundle  # noqa: E402
from semla_ros.demo.model.recipe import Recipe  # noqa: E402
from semla_ros.demo.model.scenes import render_domains  # noqa: E402
from semla_ros.demo.model.text_half import add_text_half  # noqa: E402
from semla_ros.navigator.text_encoder import OnnxTextEncoder  # noqa: E402

DEMO = Path(__file__).resolve().parents[3] / "models" / "demo"


def test_a_bundle_gets_a_sealed_text_half_and_stays_what_it_is(tmp_path):
    root = shutil.copytree(DEMO, tmp_path / "demo")
    (root / "navigator_text.onnx").unlink()
    before = open_bundle(DEMO)
    few = render_domains(
        first_seed=0, count=4, captions=2, title="few", domains=("clear-day", "snow-night")
    )
    recipe = replace(Recipe(), clip=replace(Recipe().clip, steps=3, batch_size=4))
    made = add_text_half(replace(before, root=root), few, recipe)
    assert open_bundle(root).manifest.files == made.manifest.files
    assert made.manifest.files.keys() == before.manifest.files.keys()
    changed = {k for k, v in made.manifest.files.items() if v != before.manifest.files[k]}
    assert changed == {"navigator_text.onnx"}
    assert made.manifest.navigator == before.manifest.navigator
    rows = OnnxTextEncoder(made).encode(["a street", "a snowy night"])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-5)
