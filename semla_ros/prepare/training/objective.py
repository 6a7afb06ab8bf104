"""What is minimised, and what is scored: CAT-Seg's loss of a batch, mIoU of held-out images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from semla_ros.data.metrics import frame_counts, mean_iou
from semla_ros.network.catseg import CatSeg
from semla_ros.prepare.training.recipe import DOUBLED_TAP, IGNORED
from semla_ros.prepare.training.samples import IGNORE, LabelledImages, View

Prompts = Callable[[np.random.Generator], Tensor]
"""Draws the token ids (T, L) of one prompt per class; synonyms may vary from step to step."""


class Objective(nn.Module):
    """The loss of a batch, as one module: what runs on several GPUs at once is its `forward`."""

    second_tap: Tensor | None

    def __init__(
        self,
        model: CatSeg,
        *,
        balance: float = 0.0,
        habits: Collection[str] = (),
        changes: Iterable[nn.Module] = (),
    ) -> None:
        """Keep the network.

        Args:
            model: Whose loss.
            balance: See `pixel_weights`.
            habits: Of the original training, see `Recipe.official`.
            changes: Modules on the network that train beside it.
        """
        super().__init__()
        self.model = model
        self.changes = nn.ModuleList(changes)
        self.balance = balance
        self.mask_ignored = IGNORED not in habits
        tap = torch.tensor([1]) if DOUBLED_TAP in habits else None
        self.register_buffer("second_tap", tap, persistent=False)

    def forward(self, image: Tensor, labels: Tensor, tokens: Tensor) -> Tensor:
        """Return the loss of images (B, 3, S, S), labels (B, S, S) and prompts (T, L)."""
        logits = self.logits(image, tokens)
        return pixel_loss(logits, labels, balance=self.balance, mask_ignored=self.mask_ignored)

    def logits(self, image: Tensor, tokens: Tensor) -> Tensor:
        """Return the logits (B, T, h, w) of images (B, 3, S, S)."""
        out: Tensor = self.model(image, self.model.encode_text(tokens), self.second_tap)
        return out


def pixel_loss(
    logits: Tensor, labels: Tensor, *, balance: float = 0.0, mask_ignored: bool = True
) -> Tensor:
    """Return the mean binary cross entropy of logits (B, T, h, w) against labels (B, S, S).

    Ignored pixels are masked; unmasked they are of no class, as the original trains them.
    """
    size = (labels.shape[1], labels.shape[2])
    full = functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
    known = labels != IGNORE
    target = functional.one_hot(labels.where(known, 0), full.shape[1]).permute(0, 3, 1, 2)
    if not mask_ignored:
        target = target * known[:, None]
    losses = functional.binary_cross_entropy_with_logits(full, target.float(), reduction="none")
    weight = pixel_weights(labels, full.shape[1], balance=balance)
    if not mask_ignored:
        weight = weight.where(known, 1.0)
    return (losses * weight[:, None]).sum() / (weight.sum() * full.shape[1]).clamp_min(1e-6)


def pixel_weights(labels: Tensor, classes: int, *, balance: float) -> Tensor:
    """Return weights (B, S, S): 0 where ignored, else (class frequency) ** -balance.

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
    view = View(objective.model.config.resolution)
    classes = tokens.shape[0]
    counts = np.zeros((3, classes), np.int64)
    chosen = np.unique(np.linspace(0, len(images) - 1, min(at_most, len(images))).round())
    for index in chosen.astype(int):
        rgb, labels = view.fit(*images[int(index)])
        image = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float()
        logits = objective.logits(image.to(tokens.device), tokens).float().sigmoid()
        full = functional.interpolate(
            logits, size=labels.shape, mode="bilinear", align_corners=False
        )
        mask = full[0].argmax(dim=0).cpu().numpy().astype(np.uint16)
        truth = np.where(labels == IGNORE, classes, labels).astype(np.uint16)
        counts += frame_counts(truth, mask, classes=classes)
    objective.train()
    return float(mean_iou(counts))
