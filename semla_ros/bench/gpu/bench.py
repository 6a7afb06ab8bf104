"""Plans, slots and sets of weights to measure with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.engine.tensorrt.assembly import order_of
from semla_ros.engine.tensorrt.cuda import PinnedArray
from semla_ros.engine.tensorrt.options import BuildOptions, ClassRange
from semla_ros.engine.tensorrt.plan_cache import Golden, PlanCache, default_folder
from semla_ros.engine.tensorrt.plans import FoundPlan, build_plan, find_plan
from semla_ros.engine.tensorrt.probe import nudged, question
from semla_ros.engine.tensorrt.refit_map import DTYPES
from semla_ros.engine.tensorrt.slots import RefittableSlot
from semla_ros.engine.tensorrt.staging import HostBlock, Layout
from semla_ros.engine.tensorrt.tensors import Interface, SegmentationTensors
from semla_ros.engine.tensorrt.toolkit import Toolkit
from semla_ros.engine.weights import SEGMENTATION_GRAPH, layers_of, read_base_weights
from semla_ros.types import AdapterMix, Float32Array, UInt8Array, WeightSet


@dataclass(frozen=True, slots=True)
class GpuCheck:
    """What to measure.

    Attributes:
        bundle: The model.
        precision: `fp16` or `fp32`.
        runs: Frames, refits or swaps of a row.
        seconds: Length of a run at the camera's rate.
        rate_hz: The camera's rate.
        folder: Where plans go; None: the user's cache folder.
        likeness: See `ProbeRules`.
    """

    bundle: ModelBundle
    precision: str = "fp16"
    runs: int = 200
    seconds: float = 10.0
    rate_hz: float = 30.0
    folder: Path | None = None
    likeness: float = 0.5

    def options(self, mode: str) -> BuildOptions:
        """Return how the plan of `mode` is built."""
        count = len(self.bundle.manifest.vocabulary.names)
        return BuildOptions(ClassRange.exactly(count), mode=mode, precision=self.precision)

    def plan(self, mode: str, toolkit: Toolkit) -> FoundPlan:
        """Return the plan of `mode`, built where it is missing."""
        cache = PlanCache(self.folder or default_folder())
        order = order_of(self.bundle, self.options(mode), threads=0)
        found = find_plan(order, toolkit, cache, accepts=lambda built, wanted: built == wanted)
        return found or build_plan(order, toolkit, cache)


@dataclass(frozen=True, slots=True)
class Bench:
    """One engine of one plan with everything around it.

    Attributes:
        toolkit: TensorRT.
        slot: The engine.
        tensors: Its inputs and output.
        block: A set of weights in its types.
        goldens: Reference outputs by weights.
        nudged: Layer name -> weights of the second golden output.
        stream: Where it runs.
    """

    toolkit: Toolkit
    slot: RefittableSlot
    tensors: SegmentationTensors
    block: HostBlock
    goldens: Mapping[str, Golden]
    nudged: Mapping[str, Float32Array]
    stream: int


@contextmanager
def opened(check: GpuCheck, mode: str, *, host_weights: bool = False) -> Iterator[Bench]:
    """Yield an engine of the plan of `mode`.

    Args:
        check: What is measured.
        mode: A mode of `BuildOptions`.
        host_weights: Let the refitter read host memory even where it could read the device's.

    Raises:
        EngineError: The plan cannot be built or does not load.
    """
    with ExitStack() as resources:
        toolkit = Toolkit.open()
        resources.callback(toolkit.cuda.close)
        found = check.plan(mode, toolkit)
        if host_weights:
            toolkit = replace(toolkit, features=replace(toolkit.features, device_weights=False))
        stream = toolkit.cuda.stream(urgent=True)
        resources.callback(toolkit.cuda.destroy_stream, stream)
        engine = toolkit.deserialise(found.plan.content)
        interface = Interface.of(engine)
        classes = found.identity.options.classes
        ask = question(size=interface.size, classes=classes.best, width=interface.width)
        tensors = SegmentationTensors(
            toolkit.cuda, interface, classes, ask=ask, resources=resources, stream=stream
        )
        slot = RefittableSlot(
            toolkit, found.plan.content, probe=tensors.probe, stream=stream, engine=engine
        )
        resources.callback(slot.close)
        block, base = _block(check, slot, resources, refits=found.identity.options.refits)
        yield Bench(
            toolkit=toolkit,
            slot=slot,
            tensors=tensors,
            block=block,
            goldens={golden.weights: golden for golden in found.plan.record.goldens},
            nudged={name: nudged(base[name]) for name in base},
            stream=stream,
        )


def _block(
    check: GpuCheck, slot: RefittableSlot, resources: ExitStack, *, refits: bool
) -> tuple[HostBlock, Mapping[str, Float32Array]]:
    """Return page-locked memory for a set in the types that `slot` wants, and W0."""
    layers = layers_of(check.bundle, SEGMENTATION_GRAPH)
    base = read_base_weights(check.bundle, list(layers.values()))
    names = tuple(layer.initializer for layer in layers.values())
    prototypes = slot.prototypes(names) if refits else {}
    kinds = {
        name: DTYPES[prototypes[layer.initializer].dtype] if prototypes else np.float32
        for name, layer in layers.items()
    }
    layout = Layout.of(layers, kinds)
    memory = PinnedArray(slot.toolkit.cuda, layout.nbytes)
    resources.callback(memory.free)
    return HostBlock(layout, base, memory.bytes), base


def weight_sets(check: GpuCheck, width: int) -> tuple[WeightSet, WeightSet]:
    """Return two sets to swap between: the base, and nudged weights."""
    layers = layers_of(check.bundle, SEGMENTATION_GRAPH)
    base = read_base_weights(check.bundle, list(layers.values()))
    names = check.bundle.manifest.vocabulary
    text = question(size=1, classes=len(names.names), width=width).text
    changed = {name: nudged(base[name]) for name in layers}
    return (
        WeightSet(AdapterMix.base_only(), {}, text, names),
        WeightSet(AdapterMix(("nudged",), (1.0,)), changed, text, names),
    )


def picture(check: GpuCheck) -> UInt8Array:
    """Return the frame that is segmented, (S, S, 3) uint8."""
    size = check.bundle.manifest.segmentation.size
    image = question(size=size, classes=1, width=1).image[0]
    return np.ascontiguousarray(np.moveaxis(image, 0, 2)).astype(np.uint8)
