"""Build a network from a state dict in the upstream layout."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from semla_ros.core.errors import TrainingError
from semla_ros.network.aggregator import SwinBlock, shift_mask
from semla_ros.network.catseg import CatSeg, pixel_statistics
from semla_ros.network.clip import causal_mask
from semla_ros.network.config import CatSegConfig

_ALIASES = ("attn.q_proj.weight", "attn.k_proj.weight", "attn.v_proj.weight")
_MASK_BUFFER = ".attn_mask"
_NAMED = 20
"""So many keys of a kind are named in a message."""


def create_catseg(config: CatSegConfig, *, seed: int) -> CatSeg:
    """Return a freshly initialised network; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CatSeg(config)


def clean_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict without q/k/v aliases and window-mask buffers.

    Raises:
        TrainingError: an alias differs from the weight it should share.
    """
    kept: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key.endswith(_ALIASES):
            original = key.removesuffix(".weight") + "_weight"
            if original not in state or not torch.equal(tensor, state[original]):
                raise TrainingError(
                    f"expected {key!r} to equal {original!r}, got other values or no such key; "
                    "the checkpoint was merged halfway: use an untouched one"
                )
        elif not key.endswith(_MASK_BUFFER):
            kept[key] = tensor
    return kept


def catseg_from_state(state: Mapping[str, Tensor], config: CatSegConfig | None = None) -> CatSeg:
    """Return the network of an upstream checkpoint, in evaluation mode, float32.

    The network takes the tensors over where they are float32 already: a checkpoint read through
    a memory map is not copied.

    Args:
        state: tensors by key; aliases and mask buffers are allowed.
        config: sizes; inferred from the tensors by default.

    Raises:
        ConfigError: the sizes cannot be inferred.
        TrainingError: keys or shapes differ from what the sizes ask for.
    """
    kept = {key: tensor.to(torch.float32) for key, tensor in clean_state(state).items()}
    shapes = {key: tuple(tensor.shape) for key, tensor in kept.items()}
    sizes = config or CatSegConfig.from_state_dict(shapes)
    with torch.device("meta"):
        model = CatSeg(sizes)
    expected = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    _require_same(shapes, expected)
    model.load_state_dict(kept, strict=True, assign=True)
    _compute_buffers(model)
    return model.requires_grad_(True).eval()


def _compute_buffers(model: CatSeg) -> None:
    """Give a network made on the meta device the buffers that no checkpoint carries."""
    config = model.config
    model.pixel_mean, model.pixel_std = pixel_statistics(config)
    model.clip.causal_mask = causal_mask(config.context_length)
    for module in model.modules():
        if isinstance(module, SwinBlock) and module.shift:
            module.attn_mask = shift_mask(config.grid, window=config.window, shift=module.shift)


def _require_same(got: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> None:
    if got == expected:
        return
    missing = sorted(expected.keys() - got.keys())
    extra = sorted(got.keys() - expected.keys())
    other = sorted(key for key in expected.keys() & got.keys() if expected[key] != got[key])
    raise TrainingError(
        f"expected the {len(expected)!r} tensors of CAT-Seg, got {len(missing)!r} missing "
        f"{missing[:_NAMED]!r}, {len(extra)!r} unknown {extra[:_NAMED]!r}, {len(other)!r} of "
        f"another shape {other[:_NAMED]!r}; give a checkpoint of this architecture"
    )
