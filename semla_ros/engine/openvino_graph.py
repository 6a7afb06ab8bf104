"""Reading a bundle's segmentation graph with OpenVINO, its adaptable weights as inputs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from semla_ros.bundle import GraphWeight, Manifest
from semla_ros.core.engines import AUTO, BF16, F16, F32
from semla_ros.core.errors import BundleError, EngineUnavailableError
from semla_ros.core.shown import native_path
from semla_ros.engine.graph_ends import GraphEnds
from semla_ros.engine.weights import SECOND_TAP

_CAPABILITIES: Mapping[str, str] = {F32: "FP32", BF16: "BF16", F16: "FP16"}
_TELEMETRY = "openvino_telemetry"


Handle: TypeAlias = Any
"""An object of OpenVINO, which is optional: its types may not be there."""


class OpenVino(NamedTuple):
    """The module and its core."""

    module: Handle
    core: Handle


@dataclass(frozen=True, slots=True)
class Graph:
    """The graph with every adaptable weight as an input.

    Attributes:
        model: OpenVINO's model; clone it before reshaping.
        size: (H, W) of its image.
        feature_dim: Width D of text features, 0: it takes none.
        second_tap: Whether it lets the second tap be chosen.
    """

    model: Handle
    size: tuple[int, int]
    feature_dim: int
    second_tap: bool

    def shapes(self, classes: int) -> dict[str, list[int]]:
        """Return the shape of each input that the graph may leave open."""
        text = {"text_features": [classes, self.feature_dim]} if self.feature_dim else {}
        return {"image": [1, 3, *self.size], **text}


def open_core() -> OpenVino:
    """Return OpenVINO, ready to read graphs.

    Raises:
        EngineUnavailableError: It is not installed, or does not start.
    """
    try:
        with _without_telemetry():
            module = importlib.import_module("openvino")
        return OpenVino(module, module.Core())
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise EngineUnavailableError(
            f"engine 'openvino': expected a working OpenVINO, got {type(error).__name__}: "
            f"{error}: pip install '.[openvino]', or take engine 'onnx'"
        ) from error


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Hide the package with which `import openvino` reports itself: a robot calls nobody."""
    if _TELEMETRY in sys.modules:
        yield
        return
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # the documented way to hide one
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]


def identity(openvino: OpenVino) -> str:
    """Return version, processor and its abilities."""
    facts = [openvino.module.__version__]
    for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES"):
        facts.append(str(openvino.core.get_property("CPU", name)))
    return " ".join(facts)


def resolved_precision(openvino: OpenVino, asked: str) -> str:
    """Return the precision that `asked` means on this CPU: bf16 or f32 for `auto`.

    Raises:
        EngineUnavailableError: The CPU does not have the one that is asked for.
    """
    able = openvino.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if asked == AUTO:
        return BF16 if _CAPABILITIES[BF16] in able else F32
    if _CAPABILITIES[asked] not in able:
        has = [name for name, capability in _CAPABILITIES.items() if capability in able]
        raise EngineUnavailableError(
            f"engine 'openvino': expected a CPU with {asked!r}, got one with {has!r}: "
            "set precision to auto or one of these"
        )
    return asked


def compile_settings(precision: str, *, threads: int) -> dict[str, str | int | bool]:
    """Return how networks are compiled: for the latency of one frame, not pinned to cores."""
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
    }


def read_graph(
    openvino: OpenVino, path: Path, layers: Mapping[str, GraphWeight], manifest: Manifest
) -> Graph:
    """Return the graph `path` with the weights of `layers` as inputs.

    Raises:
        BundleError: The graph is missing, or does not fit manifest and layers.
        EngineUnavailableError: OpenVINO does not read it.
    """
    if not path.is_file():
        raise BundleError(
            f"expected the graph {path.name!r} in {str(path.parent)!r}, found none: "
            "copy the whole bundle again"
        )
    try:
        with native_path(path) as name:
            model = openvino.core.read_model(name)
        feature_dim = _ends(model).checked(manifest)
        found = _expose(openvino, model, {x.initializer: x.graph_shape for x in layers.values()})
    except RuntimeError as error:
        raise EngineUnavailableError(
            f"engine 'openvino': OpenVINO does not read {path.name!r}: {error}: "
            "take engine 'onnx', or rebuild the bundle"
        ) from error
    return Graph(model, manifest.segmentation.shape, feature_dim, SECOND_TAP in found)


def read_text_graph(openvino: OpenVino, path: Path, layers: Mapping[str, GraphWeight]) -> Handle:
    """Return the text graph `path` with the weights of `layers` as inputs.

    Raises:
        BundleError: The graph does not fit the layers.
        RuntimeError: OpenVINO does not read it.
    """
    with native_path(path) as name:
        model = openvino.core.read_model(name)
    _expose(openvino, model, {x.initializer: x.graph_shape for x in layers.values()})
    return model


def _ends(model: Handle) -> GraphEnds:
    return GraphEnds(
        {name: _sides(each) for each in model.inputs for name in each.names},
        tuple(name for each in model.outputs for name in each.names),
    )


def _sides(port: Handle) -> list[int | None]:
    return [each.get_length() if each.is_static else None for each in port.get_partial_shape()]


def _expose(openvino: OpenVino, model: Handle, shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Make inputs of the constants named in `shapes`, and of the second tap; return their names.

    Raises:
        BundleError: A weight is not there, or has another shape.
    """
    constants = {
        name: node
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Constant"
        for name in node.output(0).get_names()
    }
    inputs = []
    for name, expected in shapes.items():
        node = constants.get(name)
        got = None if node is None else tuple(node.output(0).get_shape())
        if node is None or got != expected:
            raise BundleError(
                f"the graph: expected an overridable weight {name!r} of shape "
                f"{expected!r}, got {got!r}: rebuild the bundle"
            )
        inputs.append(_as_input(openvino, node, name))
    if SECOND_TAP in constants:
        inputs.append(_as_input(openvino, constants[SECOND_TAP], SECOND_TAP))
    model.add_parameters(inputs)
    model.validate_nodes_and_infer_types()
    return {name for each in inputs for name in each.output(0).get_names()}


def _as_input(openvino: OpenVino, constant: Handle, name: str) -> Handle:
    """Return a new input that took the place of `constant`."""
    output = constant.output(0)
    parameter = openvino.module.op.Parameter(output.get_element_type(), output.get_partial_shape())
    parameter.set_friendly_name(name)
    parameter.output(0).set_names({name})
    output.replace(parameter.output(0))
    return parameter
