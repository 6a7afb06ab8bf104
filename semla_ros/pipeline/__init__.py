"""The main flow: `AdaptivePipeline.step(frame) -> SegmentationResult`."""

from semla_ros.pipeline.adaptive import AdaptivePipeline
from semla_ros.pipeline.assembly import build_pipeline, default_bundle, open_parts
from semla_ros.pipeline.parts import PipelineParts

__all__ = ["AdaptivePipeline", "PipelineParts", "build_pipeline", "default_bundle", "open_parts"]
