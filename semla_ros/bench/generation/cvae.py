"""SG-LoRA's generator: a conditional VAE with a learned prior over the parameters of adapters.

What the paper leaves open is decided here: parameters and conditions are standardised coordinate
by coordinate over the training vectors, the latent has 64 numbers, hidden layers are 256 wide.
Source: SG-LoRA (CVPR 2026); Sohn et al., 2015, for the conditional prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from semla_ros.bench.generation.prior import Prior
from semla_ros.core.errors import TrainingError
from semla_ros.core.types import Float32Array, Float64Array

_MAX_LOG_VARIANCE = 10.0
_SMALLEST_SPREAD = 1e-8


@dataclass(frozen=True, slots=True)
class CvaeOptions:
    """Sizes and training.

    Attributes:
        latent, width: Of the latent; of the hidden layers.
        steps, batch, learning_rate: Of Adam.
        kl_weight: lambda; 1 as published.
        seed: Of everything random.
    """

    latent: int = 64
    width: int = 256
    steps: int = 300
    batch: int = 64
    learning_rate: float = 1e-3
    kl_weight: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Scale:
    """What coordinates are standardised by, (P,) each; those that never vary have no part."""

    mean: Float64Array
    spread: Float64Array

    @classmethod
    def of(cls, vectors: Float32Array) -> Scale:
        """Return the scale of `vectors` (N, P)."""
        spread = vectors.std(axis=0, dtype=np.float64)
        return cls(vectors.mean(axis=0, dtype=np.float64), np.maximum(spread, _SMALLEST_SPREAD))

    def vectors(self, raw: Float32Array) -> Tensor:
        """Return standardised vectors (N, P)."""
        return torch.from_numpy(((raw - self.mean) / self.spread).astype(np.float32))

    def conditions(self, priors: list[Prior]) -> Tensor:
        """Return {mean, standard deviation} of each prior on this scale, (N, 2 P)."""
        rows = [
            np.concatenate([(p.mean - self.mean) / self.spread, np.sqrt(p.variance) / self.spread])
            for p in priors
        ]
        return torch.from_numpy(np.stack(rows).astype(np.float32))

    def raw(self, vectors: Tensor) -> Float32Array:
        """Return vectors as they were before."""
        found: Float32Array = (vectors.numpy() * self.spread + self.mean).astype(np.float32)
        return found


class Cvae(nn.Module):
    """Encoder q(z | x, c) and prior p(z | c) of two layers, decoder p(x | z, c) of three, ReLU."""

    def __init__(self, size: int, options: CvaeOptions) -> None:
        """Make one for vectors of `size` numbers and conditions of twice as many."""
        super().__init__()
        width, latent, condition = options.width, options.latent, 2 * size
        self.encoder = nn.Sequential(
            nn.Linear(size + condition, width), nn.ReLU(), nn.Linear(width, 2 * latent)
        )
        self.prior = nn.Sequential(
            nn.Linear(condition, width), nn.ReLU(), nn.Linear(width, 2 * latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent + condition, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, size),
        )

    def loss(self, x: Tensor, c: Tensor, *, kl_weight: float) -> Tensor:
        """Return |x - x'|^2 + kl_weight KL(q | p), the mean over the batch."""
        q, p = _gaussian(self.encoder(torch.cat([x, c], 1))), _gaussian(self.prior(c))
        rebuilt = self.decoder(torch.cat([q.rsample(), c], 1))
        kl = torch.distributions.kl_divergence(q, p).sum(1)
        return (torch.square(x - rebuilt).sum(1) + kl_weight * kl).mean()

    def sample(self, c: Tensor, generator: torch.Generator) -> Tensor:
        """Return a vector for each condition (N, 2 P)."""
        p = _gaussian(self.prior(c))
        noise = torch.randn(p.loc.shape, generator=generator)
        rebuilt: Tensor = self.decoder(torch.cat([p.loc + p.scale * noise, c], 1))
        return rebuilt


@dataclass(frozen=True, slots=True)
class Generator:
    """A trained CVAE with its scale."""

    model: Cvae
    scale: Scale

    def sample(self, prior: Prior, count: int, *, seed: int) -> Float32Array:
        """Return `count` vectors (count, P) for a task with this prior."""
        condition = self.scale.conditions([prior]).expand(count, -1)
        with torch.no_grad():
            found = self.model.sample(condition, torch.Generator().manual_seed(seed))
        return self.scale.raw(found)


def train_cvae(vectors: Float32Array, priors: list[Prior], options: CvaeOptions) -> Generator:
    """Return the generator fitted to `vectors` (N, P), each with the prior of its task.

    Raises:
        TrainingError: The loss is not finite.
    """
    scale = Scale.of(vectors)
    x, c = scale.vectors(vectors), scale.conditions(priors)
    rng = np.random.default_rng(options.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = Cvae(vectors.shape[1], options)
        optimiser = torch.optim.Adam(model.parameters(), lr=options.learning_rate)
        for _ in range(options.steps):
            rows = torch.from_numpy(rng.integers(0, len(x), options.batch))
            loss = model.loss(x[rows], c[rows], kl_weight=options.kl_weight)
            if not torch.isfinite(loss):
                raise TrainingError(f"the CVAE's loss became {float(loss)!r}: lower the rate")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return Generator(model.eval(), scale)


def _gaussian(numbers: Tensor) -> torch.distributions.Normal:
    mean, log_variance = numbers.chunk(2, dim=1)
    bounded = log_variance.clamp(-_MAX_LOG_VARIANCE, _MAX_LOG_VARIANCE)
    return torch.distributions.Normal(mean, torch.exp(0.5 * bounded))
