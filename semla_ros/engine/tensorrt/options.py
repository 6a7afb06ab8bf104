"""What can be chosen about a TensorRT plan; part of the plan's key."""

from __future__ import annotations

from dataclasses import dataclass

from semla_ros.engine.tensorrt.features import Features
from semla_ros.errors import ConfigError, EngineUnavailableError

REFIT, REFIT_ALL, INPUTS, CONSTANT = "refit", "refit_all", "inputs", "constant"
FACTORS = "factors"
MODES = (REFIT, INPUTS)
"""Modes an engine serves with; the others exist to be measured against."""

FP16, FP32 = "fp16", "fp32"
PRECISIONS = (FP16, FP32)

AUTO, WEAK, STRONG = "auto", "weak", "strong"
TYPINGS = (AUTO, WEAK, STRONG)

IMAGE, TEXT, LOGITS = "image", "text_features", "logits"
"""Names in the segmentation graph."""

DEFAULT_LEVEL = 3
"""Higher levels fused equal values in refit templates (TensorRT 10.14): never above 3 here."""

DEFAULT_WORKSPACE_MIB = 2048

DEFAULT_RANK = 40
"""Five adapters of rank 8."""


@dataclass(frozen=True, slots=True)
class ClassRange:
    """How many classes a plan takes; equal numbers give a static shape.

    Attributes:
        low, best, high: Smallest, optimised for, largest number of classes.
    """

    low: int
    best: int
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.best <= self.high:
            raise ConfigError(f"expected 1 <= low <= best <= high classes, got {self.text!r}")

    @classmethod
    def exactly(cls, count: int) -> ClassRange:
        """Return the range of `count` alone."""
        return cls(count, count, count)

    @classmethod
    def parse(cls, text: str) -> ClassRange:
        """Return the range that `N` or `LOW:BEST:HIGH` says.

        Raises:
            ConfigError: It says neither.
        """
        parts = text.split(":")
        if len(parts) not in (1, 3) or not all(part.isdecimal() for part in parts):
            raise ConfigError(f"expected N or LOW:BEST:HIGH classes, got {text!r}")
        numbers = [int(part) for part in parts]
        return cls.exactly(numbers[0]) if len(numbers) == 1 else cls(*numbers)

    @property
    def static(self) -> bool:
        """Whether only one number of classes is possible."""
        return self.low == self.high

    @property
    def text(self) -> str:
        """The range as `parse` reads it."""
        return str(self.low) if self.static else f"{self.low}:{self.best}:{self.high}"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a plan is built.

    Attributes:
        classes: Class counts it takes.
        mode: `refit`: the adaptable weights are constants that can be refitted; `inputs`: they
            are inputs of the network; for comparison `refit_all` (every weight refittable),
            `constant` (none) and `factors` (A and B are inputs).
        precision: `fp16` or `fp32`.
        typing: `weak`: the builder chooses among FP32 and FP16; `strong`: the graph says which
            layer is FP16; `auto`: weak where this TensorRT has the flag.
        level: Optimisation level of the builder, 0 to 3.
        workspace_mib: Limit of scratch memory, MiB.
        tf32: Let FP32 layers use TF32.
        rank: Of A and B in mode `factors`.
    """

    classes: ClassRange
    mode: str = REFIT
    precision: str = FP16
    typing: str = AUTO
    level: int = DEFAULT_LEVEL
    workspace_mib: int = DEFAULT_WORKSPACE_MIB
    tf32: bool = False
    rank: int = DEFAULT_RANK

    def __post_init__(self) -> None:
        for name, choices in (
            ("mode", (*MODES, REFIT_ALL, CONSTANT, FACTORS)),
            ("precision", PRECISIONS),
            ("typing", TYPINGS),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(f"expected {name} of {choices!r}, got {getattr(self, name)!r}")
        if not 0 <= self.level <= DEFAULT_LEVEL or min(self.workspace_mib, self.rank) < 1:
            raise ConfigError(
                f"expected a level of 0 to {DEFAULT_LEVEL}, at least 1 MiB of workspace and rank "
                f"1, got {self.level!r}, {self.workspace_mib!r} and {self.rank!r}"
            )

    @property
    def refits(self) -> bool:
        """Whether the plan can be refitted."""
        return self.mode in (REFIT, REFIT_ALL)

    def casts(self, features: Features) -> bool:
        """Return whether the graph itself must be cast to FP16.

        Raises:
            EngineUnavailableError: This TensorRT has not the typing that was asked for.
        """
        return self.precision == FP16 and self.strong(features)

    def strong(self, features: Features) -> bool:
        """Return whether the network is strongly typed.

        Raises:
            EngineUnavailableError: This TensorRT has not the typing that was asked for.
        """
        if self.typing == STRONG and not features.strong_typing:
            raise EngineUnavailableError(
                "typing 'strong': expected TensorRT 9 or newer: take typing 'weak'"
            )
        if self.typing == WEAK and not features.fp16_flag:
            raise EngineUnavailableError(
                "typing 'weak': this TensorRT types strongly only: take typing 'auto'"
            )
        return self.typing == STRONG or (self.typing == AUTO and not features.fp16_flag)
