"""Our numbers against the official implementation's, on rule-made weights (about 20 s)."""

import numpy as np
import pytest
import torch
from fakes import with_taps
from torch.nn import functional

from semla_ros.engine.contract import EngineFacts
from semla_ros.engine.preprocess import InputBuffer
from semla_ros.evaluation.windows import padded_window
from semla_ros.network.layers import adaptable_layers

LOGIT_TOLERANCE = 2e-3
LABEL_AGREEMENT = 0.999
MIX = (0.5, 0.3, 0.2)
SCALING = 2.0


class Network:
    """The network as a window asks it."""

    def __init__(self, model, text_features):
        self._model, self._text = model, text_features
        side = (model.config.resolution,) * 2
        self.facts = EngineFacts("torch", {}, side)
        self._input = InputBuffer(side)

    @torch.no_grad()
    def logits(self, rgb):
        self._input.load(rgb)
        return self._model(torch.from_numpy(self._input.tensor), self._text)[0].numpy()


@pytest.fixture(scope="module")
def text_features(parity):
    with torch.no_grad():
        return parity.model.encode_text(parity.tokens)


@pytest.fixture(scope="module")
def logits(parity, text_features):
    with torch.no_grad():
        return parity.model(parity.image("image_384")[None], text_features)[0]


def test_text_features_equal_the_official_ones(parity, text_features):
    np.testing.assert_allclose(text_features, parity.expected["text_features"], atol=1e-5)


def test_logits_equal_the_official_ones(parity, logits):
    assert np.abs(logits.numpy() - parity.expected["logits_384"]).max() <= LOGIT_TOLERANCE


def test_labels_of_one_crop_equal_the_official_ones(parity, logits):
    scores = functional.interpolate(logits.sigmoid()[None], size=(384, 384), mode="bilinear")
    labels = scores[0].argmax(0).numpy()
    assert (labels == parity.expected["labels_384"]).mean() >= LABEL_AGREEMENT


def test_padded_labels_equal_the_official_ones(parity, text_features):
    image = parity.expected["image_native"]
    network = Network(parity.model, text_features)
    labels = padded_window(network, image, multiple=384).labels.labels
    assert (labels == parity.expected["labels_native_padded"]).mean() >= LABEL_AGREEMENT


def test_fused_mix_equals_the_official_one(parity, adapter_rule):
    # The official code reads the first tap twice once adapters are wrapped around the network.
    first = parity.model.config.taps[0]
    fused = with_taps(parity.model, (first, first))
    state = fused.state_dict()
    for layer in adaptable_layers(fused.config):
        shapes = parity.adapter_shapes[layer.name]
        if layer.inert_in_official:
            continue
        pairs = [adapter_rule(layer.name, *shapes, index) for index in range(len(MIX))]
        delta = sum(w * SCALING * b @ a for w, (a, b) in zip(MIX, pairs, strict=True))
        state[layer.parameter] += torch.from_numpy(delta.astype(np.float32))
    with torch.no_grad():
        text = fused.encode_text(parity.tokens)
        logits = fused(parity.image("image_384")[None], text)[0]
    np.testing.assert_allclose(text, parity.expected["text_features_mix"], atol=1e-5)
    assert np.abs(logits.numpy() - parity.expected["logits_384_mix"]).max() <= LOGIT_TOLERANCE
    base = parity.expected["logits_384"]
    assert np.abs(logits.numpy() - base).max() > 100 * LOGIT_TOLERANCE
