"""One function for each question of the GPU check; each returns rows of a table."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator

import numpy as np

from semla_ros.bench.gpu.bench import Bench, GpuCheck, opened, picture, weight_sets
from semla_ros.bench.measures import summary
from semla_ros.bench.record import Row
from semla_ros.engine.options import AUTO, F16, F32, EngineOptions
from semla_ros.engine.tensorrt.engine import TensorRtEngine
from semla_ros.engine.tensorrt.execution import Feed, Mirror, tensor_names
from semla_ros.engine.tensorrt.options import CONSTANT, FACTORS, INPUTS, REFIT, REFIT_ALL
from semla_ros.engine.tensorrt.probe import BASE, NUDGED, relative_error
from semla_ros.engine.tensorrt.settings import TensorRtSettings
from semla_ros.engine.tensorrt.wire import RefitWire
from semla_ros.errors import EngineError
from semla_ros.timing import now_ms

_WARM_UP = 20
_MIB = 2**20
_FLOAT_BYTES = 4


def latencies(check: GpuCheck) -> Iterator[Row]:
    """Yield what refitting costs the frame: no refit, ours refittable, all refittable."""
    for mode in (CONSTANT, REFIT, REFIT_ALL):
        with opened(check, mode) as bench:
            error = relative_error(bench.slot.probe(), bench.goldens[BASE])
            spent = _timed(lambda: bench.slot.probe(), check.runs)
            yield _row("frame latency", mode, spent, golden_error=error)


def factors(check: GpuCheck) -> Iterator[Row]:
    """Yield what two more products in every layer cost: A and B as inputs, all zeros here."""
    with opened(check, FACTORS) as bench:
        engine, cuda = bench.slot.engine, bench.toolkit.cuda
        feed = bench.tensors.probe
        sizes = {
            name: math.prod(engine.get_tensor_shape(name)) * _FLOAT_BYTES
            for name in tensor_names(engine)
            if "::" in name
        }
        zeros = Mirror(cuda, (max(sizes.values()),), np.uint8)
        try:
            zeros.upload(bench.stream)
            addresses = dict.fromkeys(sizes, zeros.pointer)
            fed = Feed(feed.inputs, feed.output, addresses, feed.shaped)
            error = relative_error(bench.slot.answer(fed), bench.goldens[BASE])
            spent = _timed(lambda: bench.slot.answer(fed), check.runs)
            yield _row("frame latency", FACTORS, spent, golden_error=error)
        finally:
            zeros.free()


def refits(check: GpuCheck) -> Iterator[Row]:
    """Yield what a refit costs: memory it reads from, validation on and off."""
    for host in (False, True):
        with opened(check, REFIT, host_weights=host) as bench:
            wire = RefitWire(bench.toolkit, bench.block.layout)
            try:
                yield from _refits(check, bench, wire, "HOST" if host else "DEVICE")
            finally:
                bench.slot.close()
                wire.close()


def _refits(check: GpuCheck, bench: Bench, wire: RefitWire, place: str) -> Iterator[Row]:
    slot = bench.slot
    slot.attach(wire)
    bench.block.write(bench.nudged)

    def swap() -> None:
        slot.stage(bench.block)
        if not slot.refit():
            raise EngineError("TensorRT refused the nudged weights")

    for validation in (True, False):
        slot.validate(validation)
        before = bench.toolkit.cuda.free_bytes
        spent = _timed(swap, check.runs)
        retained = (before - bench.toolkit.cuda.free_bytes) / check.runs
        error = relative_error(slot.probe(), bench.goldens[NUDGED])
        yield _row(
            "copy and refit",
            f"{place}, validation {'on' if validation else 'off'}",
            spent,
            golden_error=error,
            retained_bytes_each=retained,
            weights_mib=bench.block.layout.nbytes / _MIB,
        )


def captured_graphs(check: GpuCheck) -> Iterator[Row]:
    """Yield whether a CUDA graph captured before a refit computes with the new weights."""
    with opened(check, REFIT) as bench:
        wire = RefitWire(bench.toolkit, bench.block.layout)
        cuda, feed = bench.toolkit.cuda, bench.tensors.probe
        bench.slot.attach(wire)
        graph = 0
        try:
            bench.slot.probe()
            graph = cuda.capture(
                lambda: bench.slot.serve(feed, stream=bench.stream), stream=bench.stream
            )
            bench.block.write(bench.nudged)
            bench.slot.stage(bench.block)
            bench.slot.refit()
            cuda.launch(graph, stream=bench.stream)
            _, output = feed.output
            output.download(bench.stream)
            cuda.synchronize(bench.stream)
            replayed = np.array(output.host)
            fresh = bench.slot.probe()
            equal = bool(np.array_equal(replayed, fresh))
            yield {"group": "CUDA graph after refit", "variant": REFIT, "bit_equal": equal}
        except EngineError as error:
            yield {"group": "CUDA graph after refit", "variant": REFIT, "error": str(error)}
        finally:
            if graph:
                cuda.destroy_graph(graph)
            bench.slot.close()
            wire.close()


ENGINES = {
    "two engines": (REFIT, False),
    "one engine, refitted in place": (REFIT, True),
    "weights are inputs": (INPUTS, False),
}


def open_engine(check: GpuCheck, variant: str) -> TensorRtEngine:
    """Return the engine that a user would have, of a key of `ENGINES`."""
    mode, one_engine = ENGINES[variant]
    precision = {"fp16": F16, "fp32": F32}.get(check.precision, AUTO)
    settings = TensorRtSettings(
        mode=mode,
        folder=check.folder,
        build=True,
        one_engine=one_engine,
        likeness=check.likeness,
    )
    return TensorRtEngine.open(
        check.bundle, options=EngineOptions(precision=precision), settings=settings
    )


def swaps(check: GpuCheck) -> Iterator[Row]:
    """Yield latency, swap time, return to the same bits and memory of each kind of engine."""
    for variant in ENGINES:
        with open_engine(check, variant) as engine:
            first, second = weight_sets(check, engine.feature_dim or 1)
            frame = picture(check)

            def swap_to(number: int) -> None:
                engine.prepare((first, second)[number % 2])  # noqa: B023  called at once
                engine.commit()

            swap_to(0)
            before = engine.logits(frame)
            spent = _timed(lambda: engine.infer(frame), check.runs)  # noqa: B023
            yield _row("frame with post-processing", variant, spent)
            gc.collect()
            free = engine.free_device_bytes
            numbers = iter(range(1, 10**9))
            spent = _timed(lambda: swap_to(next(numbers)), check.runs)  # noqa: B023
            retained = (free - engine.free_device_bytes) / check.runs
            swap_to(1)
            swap_to(0)
            equal = bool(np.array_equal(engine.logits(frame), before))
            errors = engine.golden_errors
            yield _row(
                "swap, fusing apart",
                variant,
                spent,
                there_and_back_bit_equal=equal,
                retained_bytes_each=retained,
                golden_error=errors[BASE],
                nudged_error=errors[NUDGED],
            )


def _timed(call: Callable[[], object], runs: int) -> list[float]:
    for _ in range(min(_WARM_UP, runs)):
        call()
    spent = []
    for _ in range(runs):
        begun = now_ms()
        call()
        spent.append(now_ms() - begun)
    return spent


def _row(group: str, variant: str, spent: list[float], **more: float | bool) -> Row:
    figures = {f"{name}_ms" if name != "count" else name: v for name, v in summary(spent).items()}
    return {"group": group, "variant": variant, **figures, **more}
