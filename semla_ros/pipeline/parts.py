"""What a pipeline is put together from."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from semla_ros.bundle import ModelBundle
from semla_ros.core.answers import Prediction
from semla_ros.core.types import Float32Array
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
        shares_embedding: The engine gives the navigator's embedding, too, and may be believed.
    """

    bundle: ModelBundle
    engine: SegmentationEngine
    swapper: AdapterSwapper
    library: AdapterLibrary
    observer: Observer | None
    executors: tuple[Executor, ...]
    shares_embedding: bool = False

    def embedding_of(self, prediction: Prediction) -> Float32Array | None:
        """Return the embedding (D,) of the frame of `prediction` where no navigator need run."""
        return prediction.embedding if self.shares_embedding else None
