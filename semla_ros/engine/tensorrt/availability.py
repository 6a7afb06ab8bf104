"""What TensorRT lacks on this machine."""

from __future__ import annotations

import importlib.util

from semla_ros.bundle import ModelBundle
from semla_ros.engine.options import CUDA, F16, F32, EngineOptions
from semla_ros.engine.tensorrt.assembly import order_of
from semla_ros.engine.tensorrt.plans import find_plan
from semla_ros.engine.tensorrt.settings import TensorRtSettings
from semla_ros.engine.tensorrt.toolkit import Toolkit
from semla_ros.errors import EngineUnavailableError


def only_lacks_plan(
    bundle: ModelBundle, options: EngineOptions, settings: TensorRtSettings | None = None
) -> bool:
    """Return whether building a plan is all that keeps TensorRT from serving `bundle` here.

    Args:
        bundle: The model.
        options: Precision and device that are asked for.
        settings: Which plan would do.

    Raises:
        BundleError: The bundle has no segmentation graph.
    """
    settings = settings or TensorRtSettings()
    try:
        options.require("tensorrt", precisions=(F16, F32), devices=(CUDA,))
        toolkit = Toolkit.open()
    except EngineUnavailableError:
        return False
    try:
        wanted = settings.build_options(bundle, options.precision)
        order = order_of(bundle, wanted, threads=options.threads)
        found = find_plan(order, toolkit, settings.cache, accepts=settings.accepts)
    finally:
        toolkit.cuda.close()
    return found is None and importlib.util.find_spec("onnx") is not None
