"""What a pipeline is put together from."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from semla_ros.bundle import ModelBundle
from semla_ros.engine.contract import SegmentationEngine
from semla_ros.library.library import AdapterLibrary
from semla_ros.pipeline.observer import Observer
from semla_ros.pipeline.swap import AdapterSwapper


@dataclass(frozen=True, slots=True)
class PipelineParts:
    """What a pipeline is put together from.

    Attributes:
        bundle: The model.
        engine: Segments.
        swapper: Changes the engine's weights.
        library: Adapters to choose from.
        observer: Where are we? None without a navigator: explicit mixes only.
        executors: Where slow work runs; shut down with the pipeline. The first one also
            reloads the library.
    """

    bundle: ModelBundle
    engine: SegmentationEngine
    swapper: AdapterSwapper
    library: AdapterLibrary
    observer: Observer | None
    executors: tuple[Executor, ...]
