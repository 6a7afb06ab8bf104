"""Checkpoints of a training run: one safetensors file that appears whole or not at all.

What is in it is all that an uninterrupted run would know: images are drawn and rates are set by
the step alone. There is no pickle in it, as there would be in torch's and accelerate's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from semla_ros.core.errors import TrainingError
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.files.whole_file import to_disk

_MOMENTS = ("exp_avg", "exp_avg_sq")
_STATE = ("step", *_MOMENTS)
"""The optimiser's own steps are fewer than the run's where float16 skipped some."""


@dataclass(frozen=True, slots=True)
class Score:
    """An evaluation: after how many steps, mean loss since the last one, held-out mIoU in 0..1."""

    step: int
    loss: float
    miou: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        step: Steps done.
        scores: Evaluations so far.
        best: Parameters of the best one; empty before the first.
        scaler: State of float16's loss scaling.
    """

    step: int = 0
    scores: tuple[Score, ...] = ()
    best: Mapping[str, Tensor] = field(default_factory=dict)
    scaler: Mapping[str, float] = field(default_factory=dict)

    @property
    def best_score(self) -> Score:
        """The earliest of the best evaluations."""
        return max(self.scores, key=lambda s: s.miou)

    def scored(self, score: Score, parameters: Mapping[str, nn.Parameter]) -> Progress:
        """Return the progress after an evaluation; the best parameters are kept."""
        scores = (*self.scores, score)
        best = self.best
        if not self.scores or score.miou > self.best_score.miou:
            best = {k: p.detach().clone() for k, p in parameters.items()}
        return replace(self, step=score.step, scores=scores, best=best)


def save(
    path: Path,
    progress: Progress,
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write the checkpoint; an older one stays until this one is whole.

    Raises:
        TrainingError: The disk refuses.
    """
    tensors = {f"now.{name}": p.detach() for name, p in parameters.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in progress.best.items()}
    for name, parameter in parameters.items():
        state = optimiser.state.get(parameter, {})
        tensors |= {f"{part}.{name}": state[part] for part in _STATE if part in state}
    facts = {
        "step": progress.step,
        "scores": [asdict(score) for score in progress.scores],
        "scaler": dict(progress.scaler),
    }
    partial = path.with_name(f".{path.name}.partial")
    try:
        contiguous = {name: t.contiguous().cpu() for name, t in tensors.items()}
        save_file(contiguous, str(partial), metadata={"progress": json.dumps(facts)})
        to_disk(partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            partial.unlink()
        raise TrainingError(
            f"cannot write the checkpoint {str(path)!r}: {error}: make room, then give the same "
            "command again; it goes on from the checkpoint before"
        ) from error


def load(
    path: Path, parameters: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer
) -> Progress:
    """Return the progress of a checkpoint, its values put into parameters and optimiser.

    Raises:
        TrainingError: Damaged, or of other parameters.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = from_json((file.metadata() or {}).get("progress", ""))
            keys = set(file.keys())
            _require_same(keys, parameters)
            for name, parameter in parameters.items():
                parameter.data.copy_(file.get_tensor(f"now.{name}"))
                if f"exp_avg.{name}" in keys:
                    own = f"step.{name}"  # older checkpoints lack it
                    steps = file.get_tensor(own) if own in keys else float(facts["step"])
                    optimiser.state[parameter] = {
                        "step": torch.as_tensor(steps),
                        **{m: file.get_tensor(f"{m}.{name}").to(parameter) for m in _MOMENTS},
                    }
            best = {n: file.get_tensor(f"best.{n}").to(p) for n, p in parameters.items()}
        scores = tuple(Score(**score) for score in facts["scores"])
        return Progress(int(facts["step"]), scores, best, facts["scaler"])
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise TrainingError(
            f"the checkpoint {str(path)!r} is damaged or of another network ({error}): --fresh "
            "starts anew"
        ) from error


def _require_same(keys: set[str], parameters: Mapping[str, nn.Parameter]) -> None:
    lost = {f"now.{name}" for name in parameters} ^ {k for k in keys if k.startswith("now.")}
    if lost:
        raise ValueError(f"{len(lost)} parameters differ, e.g. {min(lost)!r}")
