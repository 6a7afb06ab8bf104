"""Exported graphs against the networks they came from, before a bundle is let out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from semla_ros.bundle import AS_TRAINED, ModelBundle
from semla_ros.bundle.onnx_session import open_session
from semla_ros.core.errors import TrainingError
from semla_ros.engine.weights import SECOND_TAP
from semla_ros.network.catseg import CatSeg
from semla_ros.prepare.bundler.onnx_export import TextTower
from semla_ros.prepare.bundler.writer import NavigatorParts

TOLERANCE = 1e-3
"""Largest allowed difference, relative to the largest value (or 1)."""

_CLASSES, _LENGTH = 3, 6


def compare_with_torch(
    bundle: ModelBundle, *, model: CatSeg, navigator: NavigatorParts | None
) -> None:
    """Return if every graph of `bundle` answers seeded noise as its torch network does.

    Raises:
        TrainingError: One does not; the exporter and this torch version do not go together.
    """
    rng = np.random.default_rng(0)
    config = model.config
    shape = (_CLASSES, config.embed_dim)
    features = rng.standard_normal(shape, dtype=np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    side = config.resolution
    image = rng.uniform(0, 255, (1, 3, side, side)).astype(np.float32)
    feed: dict[str, npt.NDArray[np.generic]] = {"image": image, "text_features": features}
    if bundle.manifest.adapter_guidance == AS_TRAINED:
        feed[SECOND_TAP] = np.array([1])
    _compare(bundle, "segmentation.onnx", model, feed)
    tokens = rng.integers(1, config.vocab_size - 1, (_CLASSES, _LENGTH))
    tokens[:, -1] = config.vocab_size - 1
    _compare(bundle, "text_encoder.onnx", TextTower(model), {"tokens": tokens})
    if navigator is not None:
        compare_navigator(bundle, navigator)


def compare_navigator(bundle: ModelBundle, navigator: NavigatorParts) -> None:
    """Return if the navigator's graph answers seeded noise as its torch network does.

    Raises:
        TrainingError: It does not.
    """
    side = navigator.spec.size
    rng = np.random.default_rng(0)
    picture = rng.standard_normal((1, 3, side, side), dtype=np.float32)
    _compare(bundle, "navigator.onnx", navigator.module, {"image": picture})
    if navigator.text is not None:
        tokens = np.zeros((_CLASSES, navigator.text.context_length), np.int64)
        tokens[:, :_LENGTH] = rng.integers(1, 256, (_CLASSES, _LENGTH))
        _compare(bundle, "navigator_text.onnx", navigator.text.module, {"tokens": tokens})


def _compare(
    bundle: ModelBundle, graph: str, module: nn.Module, feed: dict[str, npt.NDArray[np.generic]]
) -> None:
    with torch.inference_mode():
        expected = module(*(torch.from_numpy(value) for value in feed.values())).numpy()
    (got,) = open_session(bundle.root / graph, threads=0).run(None, feed)
    scale = max(1.0, float(np.abs(expected).max()))
    if got.shape != expected.shape or not np.abs(got - expected).max() <= TOLERANCE * scale:
        raise TrainingError(
            f"{graph}: expected torch's answer within {TOLERANCE} of {scale:.3g}, got another: "
            "export with the torch version this project is tested with"
        )
