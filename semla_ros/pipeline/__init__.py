"""The main flow: `AdaptivePipeline.step(frame) -> SegmentationResult`."""

from semla_ros.pipeline.adaptive import AdaptivePipeline, PipelineParts
from semla_ros.pipeline.assembly import build_pipeline, default_bundle, open_parts

__all__ = ["AdaptivePipeline", "PipelineParts", "build_pipeline", "default_bundle", "open_parts"]
