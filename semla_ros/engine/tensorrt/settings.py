"""What a user can choose about the TensorRT engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from semla_ros.bundle import ModelBundle
from semla_ros.engine.options import AUTO, F16, F32
from semla_ros.engine.tensorrt.build import Progress
from semla_ros.engine.tensorrt.options import (
    FP16,
    FP32,
    MODES,
    REFIT,
    BuildOptions,
    ClassRange,
)
from semla_ros.engine.tensorrt.plan_cache import PlanCache, default_folder

_PRECISIONS: Mapping[str, str] = {AUTO: FP16, F16: FP16, F32: FP32}


@dataclass(frozen=True, slots=True)
class TensorRtSettings:
    """What can be chosen beyond `EngineOptions`.

    Attributes:
        mode: `refit` or `inputs`; None: as the newest plan was built, `refit` for a new one.
        classes: Class counts; None: as the newest plan that takes the bundle's list, exactly that
            many for a new one.
        folder: Where plans lie; None: the user's cache folder.
        build: Build a plan where none is found; minutes.
        progress: Told how far a build is.
        likeness: Smallest cosine between an adapted answer to the probe and the reference.
        one_engine: Refit the engine that serves, between two frames, even if memory is ample.
    """

    mode: str | None = None
    classes: ClassRange | None = None
    folder: Path | None = None
    build: bool = False
    progress: Progress | None = field(default=None, compare=False)
    likeness: float = 0.5
    one_engine: bool = False

    def build_options(self, bundle: ModelBundle, precision: str) -> BuildOptions:
        """Return how a new plan of `bundle` is built in `precision` (auto, f32 or f16)."""
        count = len(bundle.manifest.vocabulary.names)
        return BuildOptions(
            classes=self.classes or ClassRange.exactly(count),
            mode=self.mode or REFIT,
            precision=_PRECISIONS[precision],
        )

    def accepts(self, built: BuildOptions, wanted: BuildOptions) -> bool:
        """Return whether a plan as `built` serves where one as `wanted` would be made."""
        count = wanted.classes.best
        return (
            built.precision == wanted.precision
            and built.mode in (MODES if self.mode is None else (self.mode,))
            and (
                built.classes == wanted.classes
                if self.classes is not None
                else built.classes.low <= count <= built.classes.high
            )
        )

    @property
    def cache(self) -> PlanCache:
        """Where plans lie."""
        return PlanCache(self.folder or default_folder())
