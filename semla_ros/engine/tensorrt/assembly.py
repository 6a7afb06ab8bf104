"""From a plan to engines with weights in them: allocation, memory check, golden check."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy.typing as npt

from semla_ros.bundle import ModelBundle
from semla_ros.engine.tensorrt.cuda import PinnedArray
from semla_ros.engine.tensorrt.execution import Feed
from semla_ros.engine.tensorrt.loaders import (
    DoubleLoader,
    InputsLoader,
    Loader,
    SingleLoader,
)
from semla_ros.engine.tensorrt.options import INPUTS, REFIT, BuildOptions
from semla_ros.engine.tensorrt.plan_cache import CachedPlan, Golden
from semla_ros.engine.tensorrt.plans import SEGMENTATION, Order
from semla_ros.engine.tensorrt.probe import BASE, GOLDEN_ERROR, NUDGED, NudgedWeights, goldens
from semla_ros.engine.tensorrt.refit_map import DTYPES, refit_dtypes
from semla_ros.engine.tensorrt.refitter import ProbeRules, RefitLadder
from semla_ros.engine.tensorrt.slots import InputSlot, PlainSlot, RefittableSlot
from semla_ros.engine.tensorrt.staging import HostBlock, Layout
from semla_ros.engine.tensorrt.toolkit import Toolkit
from semla_ros.engine.tensorrt.wire import RefitWire
from semla_ros.engine.weights import SEGMENTATION_GRAPH, layers_of, read_base_weights
from semla_ros.errors import EngineError
from semla_ros.manifest import GraphWeight
from semla_ros.types import Float32Array

_LOG = logging.getLogger(__name__)

MARGIN_BYTES = 256 * 2**20
"""Device memory left to the rest of the robot after a second engine."""


def order_of(bundle: ModelBundle, options: BuildOptions, *, threads: int) -> Order:
    """Return what it takes to find or build the segmentation plan of `bundle`.

    Args:
        bundle: The model.
        options: How.
        threads: CPU threads of the reference run.
    """
    layers = layers_of(bundle, SEGMENTATION_GRAPH)

    def reference() -> tuple[Golden, ...]:
        base = read_base_weights(bundle, list(layers.values()))
        return goldens(bundle, layers, base, classes=options.classes.best, threads=threads)

    return Order(bundle, SEGMENTATION, layers, options, reference)


@dataclass(frozen=True, slots=True)
class Workbench:
    """What slots are made with.

    Attributes:
        toolkit: TensorRT.
        plan: What engines are made from.
        options: How it was built.
        layers: Adaptable layers.
        base: Layer name -> W0 (out, in).
        probe: The fixed question, on the device.
        stream: Where everything but frames happens.
        resources: Frees what is allocated here.
        one_engine: Make no second engine, whatever the memory.
    """

    toolkit: Toolkit
    plan: CachedPlan
    options: BuildOptions
    layers: Mapping[str, GraphWeight]
    base: Mapping[str, Float32Array]
    probe: Feed
    stream: int
    resources: ExitStack
    one_engine: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """Engines that are ready to serve the base weights.

    Attributes:
        loader: The engines.
        blocks: Two whole sets in host memory, both the base weights.
        errors: Relative error against the reference, by weights, the worst of all slots.
    """

    loader: Loader
    blocks: tuple[HostBlock, HostBlock]
    errors: Mapping[str, float]


def assemble(bench: Workbench, first: RefittableSlot, *, likeness: float) -> Machine:
    """Return the engines of a plan, each proven with two sets of weights.

    Args:
        bench: What they are made with.
        first: The engine that was deserialised to look at it.
        likeness: See `ProbeRules`.

    Raises:
        EngineError: The plan is not the bundle's, or an answer is off.
    """
    golden = {each.weights: each for each in bench.plan.record.goldens}
    if not {BASE, NUDGED} <= golden.keys():
        raise EngineError("the plan's sidecar has no golden outputs: build it again")
    layout = Layout.of(bench.layers, _dtypes(bench, first))
    first_block, second_block = (_block(bench, layout) for _ in range(2))
    limit = GOLDEN_ERROR[bench.options.precision]
    rules = ProbeRules(golden[BASE], limit, likeness=likeness)
    loader = _loader(bench, first, layout, rules)
    errors = _proven(loader, golden, first_block, bench)
    return Machine(loader, (first_block, second_block), errors)


def _proven(
    loader: Loader, golden: Mapping[str, Golden], block: HostBlock, bench: Workbench
) -> Mapping[str, float]:
    """Refit every slot with nudged weights, then with the base; it holds these afterwards."""
    errors = {BASE: 0.0, NUDGED: 0.0}
    changed = NudgedWeights(bench.base)
    for weights, content in ((NUDGED, changed), (BASE, {})):
        block.write(content)
        for index in range(len(loader.ladder.slots)):
            error = loader.ladder.check_golden(index, block, golden[weights])
            errors[weights] = max(errors[weights], error)
    _LOG.info("the %s engine is within %.2g of the reference", loader.kind, max(errors.values()))
    return errors


def _dtypes(bench: Workbench, slot: RefittableSlot) -> Mapping[str, npt.DTypeLike]:
    """Return layer name -> dtype in which its weight is handed over."""
    if bench.options.mode == INPUTS:
        return {
            name: DTYPES[slot.engine.get_tensor_dtype(layer.initializer).name]
            for name, layer in bench.layers.items()
        }
    names = tuple(layer.initializer for layer in bench.layers.values())
    features = bench.toolkit.features
    return refit_dtypes(
        bench.layers,
        refittable=slot.refittable(),
        prototypes=slot.prototypes(names),
        only_ours=bench.options.mode == REFIT and features.individual_refit,
    )


def _block(bench: Workbench, layout: Layout) -> HostBlock:
    memory = PinnedArray(bench.toolkit.cuda, layout.nbytes)
    bench.resources.callback(memory.free)
    return HostBlock(layout, bench.base, memory.bytes)


def _loader(bench: Workbench, first: RefittableSlot, layout: Layout, rules: ProbeRules) -> Loader:
    toolkit, content, probe, stream = bench.toolkit, bench.plan.content, bench.probe, bench.stream
    if bench.options.mode == INPUTS:
        probing = PlainSlot(toolkit, content, probe=probe, stream=stream, engine=first.engine)
        bench.resources.callback(probing.close)
        sets = (_input_slot(bench, probing, layout), _input_slot(bench, probing, layout))
        return InputsLoader(first, sets, RefitLadder(sets, rules))
    wire = RefitWire(toolkit, layout)
    bench.resources.callback(wire.close)
    first.attach(wire)
    bench.resources.callback(first.close)
    if bench.one_engine or not fits_again(bench, first):
        _LOG.warning("one engine: one late frame with every swap")
        return SingleLoader(first, RefitLadder((first,), rules))
    second = RefittableSlot(toolkit, content, probe=probe, stream=stream)
    second.attach(wire)
    bench.resources.callback(second.close)
    return DoubleLoader((first, second), RefitLadder((first, second), rules))


def _input_slot(bench: Workbench, probing: PlainSlot, layout: Layout) -> InputSlot:
    slot = InputSlot(probing, layout, probe=bench.probe, stream=bench.stream)
    bench.resources.callback(slot.close)
    return slot


def fits_again(bench: Workbench, slot: PlainSlot) -> bool:
    """Return whether a second engine like that of `slot` fits into the GPU's free memory."""
    engine = slot.engine
    scratch = (
        engine.device_memory_size_v2
        if hasattr(engine, "device_memory_size_v2")
        else engine.device_memory_size
    )
    need = bench.plan.record.nbytes + int(scratch) + MARGIN_BYTES
    free = bench.toolkit.cuda.free_bytes
    if free < need:
        _LOG.warning("a second engine needs %d MiB, %d are free", need // 2**20, free // 2**20)
    return free >= need
