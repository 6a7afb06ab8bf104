"""What every imported image tower shares: its shape as a module, its weights, its identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from semla_ros.core.errors import TrainingError


class ImageTower(nn.Module):
    """An image tower whose embedding is its (first) output."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, image: Tensor) -> Tensor:
        """Return the embedding (B, E) of normalised images (B, 3, N, N)."""
        output = self.tower(image)
        embedding: Tensor = output[0] if isinstance(output, tuple) else output
        return embedding


def fill_tower(tower: nn.Module, state: Mapping[str, Tensor], *, origin: str) -> None:
    """Give `tower`, made on the meta device, its weights without copying them.

    Args:
        tower: The empty tower.
        state: Tensors by name.
        origin: Where they come from, for messages.

    Raises:
        TrainingError: Missing, unknown or misshapen tensors.
    """
    expected = {key: tuple(t.shape) for key, t in tower.state_dict().items()}
    got = {key: tuple(t.shape) for key, t in state.items()}
    if expected != got:
        odd = sorted(k for k in expected.keys() | got.keys() if expected.get(k) != got.get(k))
        raise TrainingError(
            f"navigator weights {origin!r} are of another model: {len(odd)} of "
            f"{len(expected)} tensors are missing, unknown or of another shape, e.g. "
            f"{[(k, expected.get(k), got.get(k)) for k in odd[:2]]!r}: give the weights of the "
            "named navigator"
        )
    tower.load_state_dict(state, assign=True)
    if any(t.is_meta for t in (*tower.parameters(), *tower.buffers())):
        raise TrainingError(
            f"navigator weights {origin!r}: this model computes tensors that no checkpoint "
            "carries: take another model"
        )


def square_side(size: int | Sequence[int]) -> int:
    """Return the side of a square `size`, given once or for each axis.

    Raises:
        TrainingError: It is not square.
    """
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise TrainingError(f"expected a navigator with square input, got {size!r}")
    return int(sides.pop())


def name_of(path: Path | None) -> str:
    """Return how messages call the weights in `path`, None: those of the hub."""
    return "from the hub" if path is None else path.name


def with_resize(identity: str, resize: str, *, own: str) -> str:
    """Return `identity`, marked where the preprocessing is not the encoder's `own`."""
    return identity if resize == own else f"{identity}+{resize}"
