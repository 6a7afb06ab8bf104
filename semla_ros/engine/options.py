"""What may be asked of any engine: how many threads, which arithmetic, which processor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semla_ros.core.errors import EngineUnavailableError

AUTO = "auto"
F32, BF16, F16 = "f32", "bf16", "f16"
CPU, CUDA = "cpu", "cuda"
DEVICES = (CPU, CUDA)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What is asked of an engine; `auto` leaves a choice to it, anything else must be met.

    Attributes:
        threads: CPU threads; 0: all cores but one.
        precision: What matrices are multiplied in: auto, f32, bf16 or f16.
        device: auto, cpu or cuda.
    """

    threads: int = 0
    precision: str = AUTO
    device: str = AUTO

    def require(
        self, engine: str, *, precisions: Sequence[str], devices: Sequence[str] = (CPU,)
    ) -> None:
        """Check that `engine`, which has these `precisions` and `devices`, can do what is asked.

        Raises:
            EngineUnavailableError: It cannot; the message says what it has.
        """
        for what, asked, able in (
            ("precision", self.precision, precisions),
            ("device", self.device, devices),
        ):
            if asked != AUTO and asked not in able:
                raise EngineUnavailableError(
                    f"engine {engine!r}: expected {what} auto or one of {tuple(able)!r}, "
                    f"got {asked!r}: set {what} to one of these, or take another engine"
                )
