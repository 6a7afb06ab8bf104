"""What a run will be, before it starts: data, layers, memory and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semla_ros.core.cores import usable_cores
from semla_ros.prepare.training.frames import Gathered
from semla_ros.prepare.training.hardware import CPU, Hardware
from semla_ros.prepare.training.recipe import Recipe
from semla_ros.prepare.training.split import Split
from semla_ros.prepare.training.trainer import Measured

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Plan:
    """All that `--dry-run` prints.

    Attributes:
        name: The adapter or base.
        recipe_name, recipe: How.
        hardware: Resolved.
        data: What was found.
        split: Of it.
        classes: The bundle's.
        what: Of the network is trained, in words.
        trainable, total: Parameters.
        measured: A few steps.
        threads: Of PyTorch, on the CPU.
    """

    name: str
    recipe_name: str
    recipe: Recipe
    hardware: Hardware
    data: Gathered
    split: Split
    classes: Sequence[str]
    what: str
    trainable: int
    total: int
    measured: Measured
    threads: int

    def lines(self) -> list[str]:
        """Return it in words."""
        split, data = self.split, self.data
        plural = "recording" if len(data.names) == 1 else "recordings"
        unlabelled = len(data.places) - len(data.frames)
        steps, seconds = self.recipe.steps, self.measured.seconds
        known = sum(data.pixels) or 1
        seen = [(n, p / known) for n, p in zip(self.classes, data.pixels, strict=False) if p]
        seen.sort(key=lambda item: -item[1])
        unseen = [n for n, p in zip(self.classes, data.pixels, strict=False) if not p]
        lines = [
            f"{self.name}: {len(data.frames)} labelled frames in {len(data.names)} {plural}: "
            f"{len(split.train)} to train on, {len(split.held_out)} held out "
            f"({split.rule}), {len(split.unused)} unused; {unlabelled} without labels",
            "classes, share of pixels: " + ", ".join(f"{n} {_share(share)}" for n, share in seen),
            f"ignored: {_share(data.pixels[-1] / known)} of pixels",
        ]
        if unseen:
            lines.append(f"never shown: {', '.join(unseen)}")
        lines += [f"note: {note}" for note in data.notes]
        lines += [
            f"recipe: {self.recipe_name}; {self.what}, "
            f"{self.trainable:,} trainable parameters of {self.total:,}",
            f"on {self._device}, {self.hardware.precision}: {seconds:.2f} s a step, "
            f"{self.measured.memory_bytes / _GIB:.1f} GiB at most; {steps} steps take "
            f"{minutes(steps * seconds)} and evaluations",
        ]
        if self.recipe.official:
            lines.append(f"as the original does it: {', '.join(self.recipe.official)}")
        return lines

    @property
    def _device(self) -> str:
        if self.hardware.device != CPU:
            return self.hardware.device
        plural = "thread" if self.threads == 1 else "threads"
        return f"{CPU} with {self.threads} {plural} of {usable_cores()} usable cores"


def minutes(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if value >= 0.001 else "< 0.1 %"
