"""What a processor can do, measured, and what a frame asks of it, counted; both with PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from semla_ros.bench.turns import timed
from semla_ros.bundle import ModelBundle
from semla_ros.core.engines import BF16, F16, F32
from semla_ros.core.errors import EngineUnavailableError

RUNS = 5
_SIDE = 2048
_COPIED_BYTES = 2**28
_SMALL_SIDE, _ENOUGH_MS = 256, 50.0
"""Products grow up to `_SIDE` until one takes this long: half precision takes minutes where the
processor has none."""
_MS_TO_S = 1e-3


@dataclass(frozen=True, slots=True)
class Work:
    """What one frame must do at least.

    Attributes:
        gflop: Of all matrix products and convolutions.
        gflop_clip: Of these, in the image tower.
        weight_gb: Weights that are read, as they are stored: float32.
    """

    gflop: float
    gflop_clip: float
    weight_gb: float


@dataclass(frozen=True, slots=True)
class Processor:
    """What was measured of the processor: GFLOP/s by precision, and GB/s of copying."""

    peak_gflops: Mapping[str, float]
    copy_gb_s: float


def work_of(bundle: ModelBundle) -> Work:
    """Return the work of one frame with the bundle's class list, counted on the torch network.

    Raises:
        EngineUnavailableError: torch is missing.
    """
    _torch_or_fail()
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from semla_ros.engine.torch_engine import load_network

    model = load_network(bundle)
    size, classes = bundle.manifest.segmentation.size, len(bundle.manifest.vocabulary.names)
    image = torch.zeros(1, 3, size, size)
    features = torch.full((classes, model.config.embed_dim), model.config.embed_dim**-0.5)
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        model(image, features)
    by_module = counted.get_flop_counts()
    clip = [sum(n.values()) for name, n in by_module.items() if name.endswith("clip_model.visual")]
    text = {
        id(p) for n, p in model.named_parameters() if ".clip_model." in n and "visual" not in n
    }
    weights = sum(p.numel() * 4 for p in model.parameters() if id(p) not in text)
    return Work(counted.get_total_flops() * 1e-9, max(clip, default=0) * 1e-9, weights * 1e-9)


def processor_of(*, threads: int) -> Processor:
    """Return the best rates of this processor with `threads`, if all of them are let work.

    Raises:
        EngineUnavailableError: torch is missing.
    """
    _torch_or_fail()
    import torch

    torch.set_num_threads(threads)
    peaks = {}
    for name, dtype in ((F32, torch.float32), (BF16, torch.bfloat16), (F16, torch.float16)):
        side, spent = _SMALL_SIDE, 0.0
        while spent < _ENOUGH_MS and side <= _SIDE:
            one = torch.randn(side, side).to(dtype)
            spent = least_ms(partial(torch.mm, one, one))
            peaks[name] = threads * 2e-9 * side**3 / (_MS_TO_S * spent)
            side *= 2
    source = np.ones(_COPIED_BYTES // 4, np.float32)
    target = np.zeros_like(source)
    copied = least_ms(lambda: np.copyto(target, source))
    return Processor(peaks, 2e-9 * _COPIED_BYTES / (_MS_TO_S * copied))


def _torch_or_fail() -> None:
    """Check that torch is there.

    Raises:
        EngineUnavailableError: It is not.
    """
    try:
        import torch  # noqa: F401  asked for here, so that the error names it
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            "the floor is counted and measured with PyTorch, found none: pip install torch"
        ) from error


def least_ms(call: Callable[[], object]) -> float:
    """Return the least processor time of `call` in ms, after one call that is not counted."""
    return float(timed(call, RUNS)[:, 1].min())
