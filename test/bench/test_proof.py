"""The tables of the proof before serving, on a bundle that takes no time."""

import numpy as np
import pytest

from semla_ros.bench.proof import CONSTANTS, damages, run_proof
from semla_ros.library.storage import read_adapter


def test_sound_and_damaged_adapters_are_counted(small):
    record = run_proof(small, images=1, foreign=None, positions=1, command="c")
    (sound,) = record.extra["tables"][0]["rows"]
    assert sound["sets"] == 1 + 3 + 3
    assert sound["images"] == 2
    assert sound["swaps"] == 7 * 6 * 2
    assert len(record.rows) == len(CONSTANTS) + 5
    for row in record.rows:
        assert row["adapters"] == 3
        assert max(row["refused_by_weights"], row["refused_by_picture"]) <= row["refused"] <= 1


def test_damages_are_what_they_are_called(small):
    folder = small / "library" / "fog"
    adapter = read_adapter(folder)
    made = dict(damages(folder, adapter, positions=1, rng=np.random.default_rng(0)))
    for name, layer in adapter.layers.items():
        turned = made["sign of B turned"].layers[name]
        np.testing.assert_array_equal(turned.lora_b, -layer.lora_b)
        assert made["times 10"].layers[name].scaling == 10 * layer.scaling
        assert made["times 100"].layers[name].scaling == 100 * layer.scaling
        noise = made["random factors of equal norm"].layers[name]
        assert np.linalg.norm(noise.lora_a) == pytest.approx(np.linalg.norm(layer.lora_a), 1e-5)
        np.testing.assert_array_equal(made["14 kB of 10"].layers[name].lora_a, np.float32(10))
