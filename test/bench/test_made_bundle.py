"""A bundle of random weights serves like any other."""

import warnings

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch to make a network")
pytest.importorskip("onnx", reason="needs onnx to make a network")

from fakes import tiny_config

from semla_ros.bench.candidates import HotLoading, Material
from semla_ros.bench.made_bundle import ADAPTERS, CLASSES, random_bundle
from semla_ros.core.types import AdapterMix
from semla_ros.library.storage import read_adapter


def test_random_adapters_change_what_is_served_a_little(tmp_path):
    config = tiny_config(text_layers=1, vocab_size=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporters deprecate each other
        bundle = random_bundle(tmp_path / "bundle", config, name="small")
    assert bundle.manifest.vocabulary.names == CLASSES
    adapters = {n: read_adapter(bundle.library / n, name=n) for n in ADAPTERS}
    ours = HotLoading(Material(bundle, adapters, threads=1), engine="onnx")
    rgb = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    logits = []
    for mix in (AdapterMix.base_only(), AdapterMix(("first",), (1.0,))):
        ours.prepare(mix)
        ours.commit()
        logits.append(ours.logits(rgb))
    ours.close()
    assert logits[0].shape[0] == len(CLASSES)
    assert np.isfinite(logits).all()
    assert 0 < np.abs(logits[1] - logits[0]).max() < np.abs(logits[0]).max()
