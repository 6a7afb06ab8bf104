"""Mixes of networks trained as a whole: all their weights are averaged, frame by frame.

Source: SemLA (CVPR 2025), Table 6: full fine-tuning beside LoRA, uniform and by distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from semla_ros.bench.adapter_world import TEST, TRAIN, World
from semla_ros.bundle import ModelBundle
from semla_ros.core.config import Config
from semla_ros.core.types import BASE, AdapterMix, Frame, UInt8Array
from semla_ros.data.metrics import Int64Array, harmonic_mean, mean_iou
from semla_ros.engine.postprocess import labels_from_scores, scores_from_logits
from semla_ros.evaluation.study.observation import Observation, score_frame
from semla_ros.evaluation.study.strategies import semla_mix, uniform
from semla_ros.library.retrieval import settings_from
from semla_ros.navigator.distance import CentroidBank, euclidean
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.prepare.training.networks import trained_network
from semla_ros.prepare.training.samples import View

State = Mapping[str, Tensor]
_CONFIG = Config(null_distance=-1.0)
"""As adapters are judged: a share of the base would hide what the networks are worth."""


class MixedNetwork:
    """A network whose weights are a weighted mean of several."""

    def __init__(self, base: ModelBundle, members: Mapping[str, State]) -> None:
        """Open the network.

        Args:
            base: Whose network and class list.
            members: Name -> all weights of a network of the same shapes.
        """
        self._members = members
        self._network = trained_network(base).eval()
        self._mix: AdapterMix | None = None

    @torch.no_grad()
    def counts(self, mix: AdapterMix, rgb: UInt8Array, truth: UInt8Array) -> Int64Array:
        """Return (3, T) counts of the mask of `rgb` (H, W, 3), as `frame_counts` has them."""
        if mix != self._mix:
            self._network.model.load_state_dict(mean_state(self._members, mix))
            self._mix = mix
        size, tokens = self._network.size, self._network.tokens
        shown, _ = View(size).fit(rgb, truth)
        image = torch.from_numpy(np.array(shown)).permute(2, 0, 1)[None].float()
        scores = scores_from_logits(self._network(image, tokens)[0].numpy())
        made = labels_from_scores(scores, size)
        classes = len(tokens)
        scored = np.where(truth < classes, truth, classes).astype(np.uint16)
        return score_frame(
            made.labels, made.confidence, size=rgb.shape[:2], truth=scored, classes=classes
        ).counts


def mean_state(members: Mapping[str, State], mix: AdapterMix) -> dict[str, Tensor]:
    """Return the weighted mean of all weights; what is not floating point is the first's."""
    chosen = [members[name] for name in mix.names]
    found = {}
    for key, first in chosen[0].items():
        found[key] = first
        if first.is_floating_point():
            parts = (w * state[key] for w, state in zip(mix.weights, chosen, strict=True))
            found[key] = torch.stack(list(parts)).sum(dim=0)
    return found


def mixed_scores(
    base: ModelBundle, members: Mapping[str, ModelBundle], world: World
) -> dict[str, float]:
    """Return `uniform` and `semla`, own domain left out: h-means of mIoU, percent.

    Args:
        base: Whose navigator and settings of retrieval choose; without a null adapter.
        members: Domain -> the network trained on it.
        world: Its training frames give centroids, its test frames are judged.
    """
    states = {n: trained_network(b).model.state_dict() for n, b in {**members, BASE: base}.items()}
    network = MixedNetwork(base, states)
    names, settings = tuple(members), settings_from(_CONFIG, base.manifest.defaults)
    encoder = OnnxImageEncoder(base, threads=1)
    bank = _bank(encoder, names, world)
    sums: dict[str, dict[str, Int64Array]] = {"uniform": {}, "semla": {}}
    for domain in names:
        for rgb, truth in world.frames(TEST, domain):
            embedding = encoder.encode(rgb)
            seen = Observation(
                Frame(0, "", rgb),
                domain,
                excluded=frozenset({domain}),
                embedding=embedding,
                distances=euclidean(embedding, bank),
            )
            retrieved = semla_mix(names, seen, settings) or AdapterMix.base_only()
            for rule, mix in {"uniform": uniform(names, seen), "semla": retrieved}.items():
                added = network.counts(mix, rgb, truth)
                sums[rule][domain] = sums[rule].get(domain, 0) + added
    return {rule: 100 * _h_mean(list(each.values())) for rule, each in sums.items()}


def _h_mean(counts: Sequence[Int64Array]) -> float:
    return harmonic_mean([float(mean_iou(each)) for each in counts])


def _bank(encoder: OnnxImageEncoder, names: Sequence[str], world: World) -> CentroidBank:
    means = [
        np.mean([encoder.encode(rgb) for rgb, _ in world.frames(TRAIN, name)], axis=0)
        for name in names
    ]
    return CentroidBank(tuple(names), np.stack(means).astype(np.float64))
