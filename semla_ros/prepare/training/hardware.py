"""Where training runs and in which precision: accelerate's accelerator, once it is known to fit.

accelerate, not Fabric: PEFT brings it anyway, it adds no training loop of its own, and its
launcher runs the same command on several GPUs.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs

from semla_ros.core.cores import usable_cores
from semla_ros.core.errors import TrainingError

AUTO, CPU, CUDA = "auto", "cpu", "cuda"
F32, BF16, F16 = "f32", "bf16", "f16"
DEVICES = (AUTO, CPU, CUDA)
PRECISIONS = (AUTO, F32, BF16, F16)
_MIXED = {F32: "no", BF16: "bf16", F16: "fp16"}


@dataclass(frozen=True, slots=True)
class Hardware:
    """What was asked for; auto: a GPU if there is one, bf16 where it has that, else float32."""

    device: str = AUTO
    precision: str = AUTO

    def __post_init__(self) -> None:
        if self.device not in DEVICES or self.precision not in PRECISIONS:
            raise TrainingError(
                f"expected a device of {DEVICES!r} and a precision of {PRECISIONS!r}, got "
                f"{self.device!r}, {self.precision!r}"
            )

    def resolved(self) -> Hardware:
        """Return what it comes to on this machine.

        Raises:
            TrainingError: It is not there.
        """
        there = torch.cuda.is_available()
        if self.device == CUDA and not there:
            raise TrainingError(
                f"expected an NVIDIA GPU for device 'cuda', found none that PyTorch "
                f"{torch.__version__} can use (built for CUDA {torch.version.cuda}): install a "
                "driver and a CUDA build of torch, or take --device cpu"
            )
        device = self.device if self.device != AUTO else (CUDA if there else CPU)
        able = device == CUDA and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = self.precision if self.precision != AUTO else (BF16 if able else F32)
        if device == CPU and precision == F16:
            raise TrainingError(
                "precision 'f16' needs a GPU, got device 'cpu': take --precision f32 or bf16"
            )
        if device == CUDA and precision == BF16 and not able:
            raise TrainingError(
                f"precision 'bf16': {torch.cuda.get_device_name()} has none: take f16 or f32"
            )
        return Hardware(device, precision)


def accelerator_of(hardware: Hardware, *, accumulate: int, idle: bool = False) -> Accelerator:
    """Return the accelerator for resolved `hardware`.

    Args:
        hardware: What it runs on.
        accumulate: Parts of a batch.
        idle: Some parameters never reach the loss; processes must not wait for their gradients.
    """
    return Accelerator(
        cpu=hardware.device == CPU,
        mixed_precision=_MIXED[hardware.precision],
        gradient_accumulation_steps=accumulate,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=idle)],
    )


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory used so far: of the GPU, or of this process."""
    if device.type == CUDA:
        return int(torch.cuda.max_memory_allocated(device))
    try:  # a process inherits ru_maxrss from the one that started it, VmHWM it does not
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` is PyTorch's for memory that a device does not have."""
    text = str(error)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError)
        and ("DefaultCPUAllocator" in text or "out of memory" in text)
    )


def given_threads() -> int:
    """Return OMP_NUM_THREADS where it is set, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) else usable_cores()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads inside; 0: see `given_threads`."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or given_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)
