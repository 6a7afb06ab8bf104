"""What may be asked of any engine: how many threads, which arithmetic, which processor."""

from __future__ import annotations

from dataclasses import dataclass

from semla_ros.core.engines import AUTO, EngineKind
from semla_ros.core.errors import EngineUnavailableError

ASKED_FOR = "asked for"


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What is asked of an engine; `auto` leaves a choice to it, anything else must be met.

    Attributes:
        threads: CPU threads; 0: all cores but one.
        precision: What matrices are multiplied in: auto, f32, bf16 or f16.
        device: auto, cpu or cuda.
        reason: Why it is this engine.
    """

    threads: int = 0
    precision: str = AUTO
    device: str = AUTO
    reason: str = ASKED_FOR

    def require(self, name: str, kind: EngineKind) -> None:
        """Check that the engine `name`, of this `kind`, can do what is asked.

        Raises:
            EngineUnavailableError: It cannot; the message says what it has.
        """
        devices = tuple(kind.precisions)
        _require(name, "device", self.device, devices)
        device = devices[0] if self.device == AUTO else self.device
        _require(name, "precision", self.precision, kind.precisions[device])

    def for_auto(self, name: str, kind: EngineKind) -> EngineOptions:
        """Return what `auto` asks of the engine `name`.

        Raises:
            EngineUnavailableError: `auto` does not take it for this precision.
        """
        if AUTO in kind.auto:
            return self
        _require(name, "precision", self.precision, kind.auto)
        precision = kind.auto[0] if self.precision == AUTO else self.precision
        return EngineOptions(self.threads, precision, self.device, self.reason)


def _require(name: str, what: str, asked: str, able: tuple[str, ...]) -> None:
    if asked != AUTO and asked not in able:
        raise EngineUnavailableError(
            f"engine {name!r}: expected {what} auto or one of {able!r}, got {asked!r}: "
            f"set {what} to one of these, or take another engine"
        )
