"""From a bundle's graph to a plan: the builder's settings, and nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from semla_ros.core.engines import F16
from semla_ros.core.errors import EngineError, EngineUnavailableError
from semla_ros.engine.contract import Tell
from semla_ros.engine.tensorrt.plans import REFIT, PlanRequest
from semla_ros.engine.tensorrt.toolkit import Toolkit, asked

WORKSPACE_BYTES = 2 * 2**30
"""Scratch memory of the builder's choices."""


def build_plan(wanted: PlanRequest, toolkit: Toolkit, tell: Tell | None = None) -> bytes:
    """Return the plan that is wanted; minutes.

    Args:
        wanted: The plan.
        toolkit: TensorRT.
        tell: Told how far it is, where this TensorRT tells; False stops it.

    Raises:
        EngineUnavailableError: The package `onnx` is missing, or this TensorRT cannot refit.
        EngineError: TensorRT cannot build it; its own messages are logged.
        BundleError: The graph is not what the manifest says.
    """
    try:
        from semla_ros.engine.tensorrt.graph import prepared_graph, save_graph
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            f"TensorRT: building a plan needs the Python package {error.name!r}: pip install onnx"
        ) from error
    # The parser makes that layer of it: who has the one knows the other.
    known = hasattr(toolkit.trt.INetworkDefinition, "add_normalization")
    with tempfile.TemporaryDirectory(prefix="semla-plan-") as folder:
        graph = Path(folder) / wanted.path.name
        save_graph(prepared_graph(wanted, layer_normalization=known), graph)
        plan = asked("builds nothing", lambda: _built(toolkit, graph, wanted, tell))
    return bytes(plan)


def _built(toolkit: Toolkit, graph: Path, wanted: PlanRequest, tell: Tell | None) -> Any:  # noqa: ANN401  trt.IHostMemory
    trt = toolkit.trt
    builder = trt.Builder(toolkit.logger)
    network = builder.create_network(_creation_flags(trt))
    parser = trt.OnnxParser(network, toolkit.logger)
    if not parser.parse_from_file(str(graph)):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise EngineError(f"TensorRT cannot parse the graph: {errors or 'no reason'}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.clear_flag(trt.BuilderFlag.TF32)
    if wanted.precision == F16 and not _strongly_typed(trt):
        config.set_flag(trt.BuilderFlag.FP16)
    if wanted.mode == REFIT:
        _let_refit(trt, network, config, wanted)
    if tell is not None and hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = _monitor(trt, tell)  # config keeps it alive
    return builder.build_serialized_network(network, config)


def _strongly_typed(trt: Any) -> bool:  # noqa: ANN401  a module without types
    """Return whether a network can have the types of its graph: by flag from 9, always in 11."""
    creation = trt.NetworkDefinitionCreationFlag
    return hasattr(creation, "STRONGLY_TYPED") or not hasattr(trt.BuilderFlag, "FP16")


def _creation_flags(trt: Any) -> int:  # noqa: ANN401  a module without types
    creation, flags = trt.NetworkDefinitionCreationFlag, 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):  # needed by 8; by 9 and 10
        if hasattr(creation, name):
            flags |= 1 << int(getattr(creation, name))
    return flags


def _let_refit(trt: Any, network: Any, config: Any, wanted: PlanRequest) -> None:  # noqa: ANN401  trt
    """Mark the adaptable weights, and no others, as refittable."""
    if not hasattr(trt.BuilderFlag, "REFIT_INDIVIDUAL"):
        raise EngineUnavailableError(
            f"TensorRT: refitting single weights needs 10.2 or newer, got {trt.__version__}: "
            "weights as inputs need no refit"
        )
    config.set_flag(trt.BuilderFlag.REFIT_INDIVIDUAL)
    refused = [name for name in wanted.weights if not network.mark_weights_refittable(name)]
    if refused:
        raise EngineError(
            f"TensorRT finds no refittable weights {refused[:3]!r} ({len(refused)} of "
            f"{len(wanted.weights)}): rebuild the bundle"
        )


def _monitor(trt: Any, tell: Tell) -> Any:  # noqa: ANN401  trt.IProgressMonitor
    """Return what tells `tell` of the builder's phases, and stops it on its word."""
    base: Any = trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]  # the module has no types
        """Called from threads of the builder."""

        def __init__(self) -> None:
            base.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase
            self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            return tell(phase_name, step + 1, self.steps.get(phase_name, step + 1))

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

    return Monitor()
