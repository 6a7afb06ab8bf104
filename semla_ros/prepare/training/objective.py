"""What is minimised, and what is scored: the loss of a batch, mIoU of held-out images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from semla_ros.bundle import SIGMOID
from semla_ros.core.types import Int64Array
from semla_ros.data.metrics import frame_counts, mean_iou
from semla_ros.prepare.training.networks import TrainedNetwork
from semla_ros.prepare.training.recipe import IGNORED
from semla_ros.prepare.training.samples import IGNORE, LabelledImages, View

Prompts = Callable[[np.random.Generator], Tensor]
"""Draws the token ids (T, L) of one prompt per class; synonyms may vary from step to step."""


class Objective(nn.Module):
    """The loss of a batch, as one module: what runs on several GPUs at once is its `forward`."""

    def __init__(
        self,
        network: TrainedNetwork,
        *,
        balance: float = 0.0,
        habits: Collection[str] = (),
        changes: Iterable[nn.Module] = (),
    ) -> None:
        """Keep the network.

        Args:
            network: Whose loss.
            balance: See `pixel_weights`.
            habits: Of the original training, see `Recipe.official`.
            changes: Modules on the network that train beside it.
        """
        super().__init__()
        self.network = network
        self.changes = nn.ModuleList(changes)
        self.balance = balance
        self.mask_ignored = IGNORED not in habits

    def forward(self, image: Tensor, labels: Tensor, tokens: Tensor) -> Tensor:
        """Return the loss of images (B, 3, H, W), labels (B, H, W) and prompts (T, L)."""
        logits = self.network(image, tokens)
        if self.network.activation != SIGMOID:
            return softmax_loss(logits, labels, balance=self.balance)
        return pixel_loss(logits, labels, balance=self.balance, mask_ignored=self.mask_ignored)

    def probabilities(self, image: Tensor, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Return what is compared at each pixel, (B, T, *size), resized as the node does it."""
        maps = self.network(image, tokens).float()
        if self.network.activation == SIGMOID:
            return _enlarged(maps.sigmoid(), size)
        return _enlarged(maps, size).softmax(dim=1)


def pixel_loss(
    logits: Tensor, labels: Tensor, *, balance: float = 0.0, mask_ignored: bool = True
) -> Tensor:
    """Return the mean binary cross entropy of logits (B, T, h, w) against labels (B, H, W).

    Ignored pixels are masked; unmasked they are of no class, as the original trains them.
    """
    full = _enlarged(logits.float(), (labels.shape[1], labels.shape[2]))
    known = labels != IGNORE
    target = functional.one_hot(labels.where(known, 0), full.shape[1]).permute(0, 3, 1, 2)
    if not mask_ignored:
        target = target * known[:, None]
    losses = functional.binary_cross_entropy_with_logits(full, target.float(), reduction="none")
    weight = pixel_weights(labels, full.shape[1], balance=balance)
    if not mask_ignored:
        weight = weight.where(known, 1.0)
    return (losses * weight[:, None]).sum() / (weight.sum() * full.shape[1]).clamp_min(1e-6)


def softmax_loss(logits: Tensor, labels: Tensor, *, balance: float = 0.0) -> Tensor:
    """Return the mean cross entropy of enlarged logits (B, T, h, w) at known labels (B, H, W)."""
    full = _enlarged(logits.float(), (labels.shape[1], labels.shape[2]))
    losses = functional.cross_entropy(full, labels, ignore_index=IGNORE, reduction="none")
    weight = pixel_weights(labels, full.shape[1], balance=balance)
    return (losses * weight).sum() / weight.sum().clamp_min(1e-6)


def pixel_weights(labels: Tensor, classes: int, *, balance: float) -> Tensor:
    """Return weights (B, H, W): 0 where ignored, else (class frequency) ** -balance.

    Frequencies below 1e-4 count as 1e-4.
    """
    known = labels != IGNORE
    if not balance:
        return known.float()
    counts = torch.bincount(labels[known], minlength=classes).float()
    of_class = (counts / counts.sum().clamp_min(1.0)).clamp_min(1e-4) ** -balance
    return of_class[labels.where(known, 0)] * known


@torch.no_grad()
def held_out_miou(
    objective: Objective, images: LabelledImages, tokens: Tensor, *, at_most: int
) -> float:
    """Return the mIoU, in 0..1, of whole images as the node shows them to the network.

    Args:
        objective: Whose network; is in evaluation mode meanwhile.
        images: Held out.
        tokens: Prompts of all classes.
        at_most: Take so many images, evenly spaced.
    """
    objective.eval()
    view = View(objective.network.size)
    counts: list[Int64Array] = []
    chosen = np.unique(np.linspace(0, len(images) - 1, min(at_most, len(images))).round())
    for index in chosen.astype(int):
        rgb, labels = view.fit(*images[int(index)])
        image = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float()
        full = objective.probabilities(
            image.to(tokens.device), tokens, (labels.shape[0], labels.shape[1])
        )
        mask = full[0].argmax(dim=0).cpu().numpy().astype(np.uint16)
        classes = full.shape[1]
        truth = np.where(labels == IGNORE, classes, labels).astype(np.uint16)
        counts.append(frame_counts(truth, mask, classes=classes))
    objective.train()
    return float(mean_iou(np.sum(counts, axis=0)))


def _enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
