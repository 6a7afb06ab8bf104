"""From a prepared graph to a plan: the builder's settings, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semla_ros.engine.tensorrt.options import (
    FP16,
    REFIT,
    TEXT,
    BuildOptions,
)
from semla_ros.engine.tensorrt.toolkit import API_ERRORS, Toolkit
from semla_ros.errors import EngineError

_LOG = logging.getLogger(__name__)

Progress = Callable[[str, int, int], bool]
"""Called with a phase's name, steps done and steps in all, from any thread; must not raise. False
asks the builder to stop."""


@dataclass(frozen=True, slots=True)
class Built:
    """What the builder made.

    Attributes:
        plan: trt.IHostMemory; write it, do not copy it.
        timing: trt.IHostMemory of the timing cache.
    """

    plan: Any
    timing: Any


def build(
    toolkit: Toolkit,
    graph: Path,
    options: BuildOptions,
    *,
    weights: tuple[str, ...],
    fed: tuple[str, ...] = (),
    timing: bytes = b"",
    progress: Progress | None = None,
) -> Built:
    """Return the plan of the prepared graph; minutes.

    Args:
        toolkit: TensorRT.
        graph: The file of `prepared_graph`.
        options: How.
        weights: Names of the adaptable weights.
        fed: Inputs that are weights.
        timing: What an earlier build measured.
        progress: Told how far it is, where this TensorRT tells.

    Raises:
        EngineError: TensorRT cannot build it; its own messages are logged.
    """
    trt = toolkit.trt
    try:
        builder = trt.Builder(toolkit.logger)
        network = builder.create_network(_creation_flags(toolkit, options))
        parser = trt.OnnxParser(network, toolkit.logger)
        if not parser.parse_from_file(str(graph)):
            raise EngineError(f"TensorRT cannot parse the graph: {_parser_errors(parser)}")
        config = _config(toolkit, builder, options)
        _choose_weights(toolkit, network, options, weights=weights, fed=fed)
        _set_classes(builder, config, network, options)
        measured = _timing_cache(config, timing)
        _watch(toolkit, config, progress)
        plan = builder.build_serialized_network(network, config)
    except API_ERRORS as error:
        raise EngineError(f"TensorRT failed while building: {error}") from error
    if plan is None:
        raise EngineError("TensorRT built nothing: see its messages above")
    return Built(plan, measured.serialize())


def _creation_flags(toolkit: Toolkit, options: BuildOptions) -> int:
    creation, features = toolkit.trt.NetworkDefinitionCreationFlag, toolkit.features
    flags = 0
    if features.explicit_batch:
        flags |= 1 << int(creation.EXPLICIT_BATCH)
    if options.strong(features) and hasattr(creation, "STRONGLY_TYPED") and features.fp16_flag:
        flags |= 1 << int(creation.STRONGLY_TYPED)
    return flags


def _config(toolkit: Toolkit, builder: Any, options: BuildOptions) -> Any:  # noqa: ANN401  trt
    trt, features = toolkit.trt, toolkit.features
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * 2**20)
    if features.optimization_level:
        config.builder_optimization_level = options.level
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.precision == FP16 and not options.strong(features):
        config.set_flag(trt.BuilderFlag.FP16)
    if features.profile_sharing:
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    if features.external_tactics:
        sources = config.get_tactic_sources()
        for name in features.external_tactics:
            sources &= ~(1 << int(getattr(trt.TacticSource, name)))
        config.set_tactic_sources(sources)
    if options.mode == REFIT and features.individual_refit:
        config.set_flag(trt.BuilderFlag.REFIT_INDIVIDUAL)
    elif options.refits:
        config.set_flag(trt.BuilderFlag.REFIT)
    return config


def _timing_cache(config: Any, content: bytes) -> Any:  # noqa: ANN401  trt.ITimingCache
    """Return the timing cache that `config` uses: `content`, or an empty one."""
    for blob in (content, b""):
        cache = config.create_timing_cache(blob)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    raise EngineError("TensorRT takes not even an empty timing cache")


def _choose_weights(
    toolkit: Toolkit,
    network: Any,  # noqa: ANN401  trt.INetworkDefinition
    options: BuildOptions,
    *,
    weights: tuple[str, ...],
    fed: tuple[str, ...],
) -> None:
    """Mark the weights that may be refitted, or say in which type they are fed."""
    trt, features = toolkit.trt, toolkit.features
    if options.mode == REFIT and features.individual_refit:
        refused = [name for name in weights if not network.mark_weights_refittable(name)]
        if refused:
            raise EngineError(
                f"TensorRT finds no refittable weights {refused[:3]!r} ({len(refused)} of "
                f"{len(weights)}): rebuild the bundle, or build with --mode inputs"
            )
    if fed and options.precision == FP16 and not options.strong(features):
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            if tensor.name in fed:
                tensor.dtype = trt.DataType.HALF
                tensor.allowed_formats = 1 << int(trt.TensorFormat.LINEAR)


def _set_classes(builder: Any, config: Any, network: Any, options: BuildOptions) -> None:  # noqa: ANN401  trt
    """Add the one optimisation profile that a class axis of several sizes needs."""
    if options.classes.static:
        return
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    text = next((tensor for tensor in tensors if tensor.name == TEXT), None)
    if text is None:
        return
    width = text.shape[1]
    profile = builder.create_optimization_profile()
    low, best, high = (
        (count, width)
        for count in (options.classes.low, options.classes.best, options.classes.high)
    )
    profile.set_shape(TEXT, low, best, high)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(f"TensorRT refuses {options.classes.text} classes: give one number")


def _parser_errors(parser: Any) -> str:  # noqa: ANN401  trt.OnnxParser
    return "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors)) or "no reason"


def _watch(toolkit: Toolkit, config: Any, progress: Progress | None) -> None:  # noqa: ANN401  trt
    """Tell `progress` of the builder's phases, where this TensorRT tells."""
    if progress is None or not toolkit.features.progress:
        return
    tell = progress
    base: Any = toolkit.trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]  # the module has no types
        """Called from threads of the builder."""

        def __init__(self) -> None:
            base.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase
            self.steps[phase_name] = num_steps
            tell(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            total = self.steps.get(phase_name, 0)
            return tell(phase_name, min(step + 1, total), total)

        def phase_finish(self, phase_name: str) -> None:
            total = self.steps.pop(phase_name, 0)
            tell(phase_name, total, total)

    config.progress_monitor = Monitor()  # config keeps it alive
