"""`python -m semla_ros.bench.gpu`: TensorRT on this machine's GPU, what scripts/gpu_check runs.

Weights as inputs of the network, which is what serves, beside two engines refitted in turn.
"""

from __future__ import annotations

import argparse
import gc
import logging
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from semla_ros.bench.measures import summary
from semla_ros.bench.record import BenchRecord, Row, save_record
from semla_ros.bench.turns import timed
from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.engines import F16, F32
from semla_ros.core.errors import SemlaError
from semla_ros.core.executors import BackgroundExecutor
from semla_ros.core.timing import now_ms
from semla_ros.core.types import AdapterMix, Float32Array, Float64Array
from semla_ros.core.weights import UNCHANGED, ArrayWeights, WeightSet
from semla_ros.engine import EngineOptions, require_package
from semla_ros.engine.golden import golden_case, relative_error, require_golden
from semla_ros.engine.proof import golden_image
from semla_ros.engine.tensorrt.engine import TensorRtEngine
from semla_ros.engine.tensorrt.plans import INPUTS, REFIT
from semla_ros.engine.tensorrt.toolkit import Toolkit
from semla_ros.pipeline import default_bundle

EXIT_MISSING = 2
MODES = (INPUTS, REFIT)

_log = logging.getLogger("semla_ros.bench.gpu")

_WARM_UP = 20
_CHANGED = 0.9
_NOTES = (
    "Times are of the whole call on the host, the wait for the device within; nothing is trimmed.",
    "Errors are relative (L2) differences of logits: golden_error against ONNX Runtime in FP32, "
    "changed_error of all layers changed against the other way of changing them.",
    "A late frame took longer than one period of the camera.",
)


@dataclass(frozen=True, slots=True)
class GpuCheck:
    """What to measure.

    Attributes:
        bundle: The model.
        precision: f16 or f32.
        runs: Frames or swaps of a row.
        seconds: Length of a run at the camera's rate.
        rate_hz: The camera's rate.
    """

    bundle: ModelBundle
    precision: str = F16
    runs: int = 200
    seconds: float = 10.0
    rate_hz: float = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the record; 2 with what is missing where there is no GPU."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="gpu_check: %(message)s")
    try:
        bundle = open_bundle(args.bundle or default_bundle(), verify=False)
        require_package("tensorrt")
        toolkit = Toolkit.open()
        platform = toolkit.platform
        toolkit.cuda.close()
        _log.info("TensorRT %s on %s", platform["tensorrt"], platform["gpu"])
        rows = measured(GpuCheck(bundle, args.precision, args.runs, args.seconds))
        record = BenchRecord(
            title=f"TensorRT on {platform['gpu']}",
            command=shlex.join(["scripts/gpu_check", *(sys.argv[1:] if argv is None else argv)]),
            rows=rows,
            notes=_NOTES,
            extra={**platform, "bundle": bundle.manifest.name},
        )
        save_record(record, args.out)
    except SemlaError as error:
        _log.error("%s", error)
        return EXIT_MISSING
    failed = sum("error" in row for row in rows)
    _log.info("wrote %s: %d rows, %d failed", args.out, len(rows), failed)
    return 1 if failed else 0


def measured(check: GpuCheck) -> tuple[Row, ...]:
    """Return the rows of both modes; one that fails leaves a row that says why."""
    rows: list[Row] = []
    answers: dict[str, Float32Array] = {}
    for mode in MODES:
        try:
            for row in _rows(check, mode, answers):
                _log.info("%s", ", ".join(f"{key} {value}" for key, value in row.items()))
                rows.append(row)
        except SemlaError as error:
            _log.error("%s failed: %s", mode, error)
            rows.append({"group": "failed", "variant": mode, "error": str(error)})
    return tuple(rows)


def _rows(check: GpuCheck, mode: str, answers: dict[str, Float32Array]) -> Iterator[Row]:
    """Yield what one mode costs; its logits with every layer changed go to `answers`."""
    options, warm_up = EngineOptions(precision=check.precision), min(_WARM_UP, check.runs)
    frame = golden_image(check.bundle.manifest.segmentation.shape)
    with TensorRtEngine.open(check.bundle, options=options, mode=mode, build=True) as engine:
        sets = _weight_sets(check.bundle, engine)
        serve(engine, sets[1])
        answers[mode] = engine.logits(frame)
        differs = relative_error(answers[mode], answers.get(INPUTS, answers[mode]))
        serve(engine, sets[0])
        before = engine.logits(frame)
        golden = require_golden(engine, check.bundle)
        spent = timed(lambda: engine.infer(frame), check.runs, warm_up=warm_up)[:, 0]
        yield _row("frame", mode, spent, golden_error=golden, changed_error=differs)
        gc.collect()
        free = engine.free_device_bytes
        wanted = cycle(sets[::-1])
        spent = timed(lambda: serve(engine, next(wanted)), check.runs, warm_up=warm_up)[:, 0]
        kept = (free - engine.free_device_bytes) / check.runs
        serve(engine, sets[1])
        serve(engine, sets[0])
        equal = bool(np.array_equal(engine.logits(frame), before))
        yield _row("swap, fusing apart", mode, spent, back_bit_equal=equal, kept_bytes_each=kept)
        for busy in (False, True):
            yield _streamed(check, engine, sets, mode=mode, busy=busy)


def serve(engine: TensorRtEngine, weight_set: WeightSet) -> None:
    """Let `weight_set` serve."""
    engine.prepare(weight_set)
    engine.commit()


def _weight_sets(bundle: ModelBundle, engine: TensorRtEngine) -> tuple[WeightSet, WeightSet]:
    """Return two sets to swap between: the base, and every layer changed."""
    case, _ = golden_case(bundle, feature_dim=engine.facts.feature_dim or 1)
    base = BaseWeights.open(bundle)
    changed = {name: np.float32(_CHANGED) * base.get(name) for name in engine.facts.layers}
    return (
        WeightSet(AdapterMix.base_only(), UNCHANGED, case.text_features, case.vocabulary),
        WeightSet(case.mix, ArrayWeights(changed), case.text_features, case.vocabulary),
    )


def _streamed(
    check: GpuCheck,
    engine: TensorRtEngine,
    sets: tuple[WeightSet, WeightSet],
    *,
    mode: str,
    busy: bool,
) -> Row:
    """Return frame latencies at the camera's rate, quiet or while swapping without a pause."""
    frame = golden_image(check.bundle.manifest.segmentation.shape)
    period_ms, committed = 1000.0 / check.rate_hz, 0
    wanted = cycle(sets[::-1])
    spent = []
    with BackgroundExecutor("semla-swap") as executor:
        ready = executor.submit(engine.prepare, next(wanted)) if busy else None
        begun = now_ms()
        for number in range(max(1, int(check.seconds * check.rate_hz))):
            time.sleep(max(0.0, (begun + number * period_ms - now_ms()) * 1e-3))
            started = now_ms()
            if ready is not None and ready.done():
                ready.result()
                engine.commit()
                ready = executor.submit(engine.prepare, next(wanted))
                committed += 1
            engine.infer(frame)
            spent.append(now_ms() - started)
        if ready is not None:
            ready.result()
    variant = f"{mode}, {'swapping without a pause' if busy else 'quiet'}"
    late = sum(each > period_ms for each in spent)
    return _row(
        f"frame at {check.rate_hz:g} Hz", variant, spent, swaps=committed, late_frames=late
    )


def _row(
    group: str, variant: str, spent: Sequence[float] | Float64Array, **more: float | bool
) -> Row:
    figures = {f"{name}_ms" if name != "count" else name: v for name, v in summary(spent).items()}
    return {"group": group, "variant": variant, **figures, **more}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__)
    parser.add_argument("--bundle", type=Path, help="default: the demo bundle")
    parser.add_argument("--out", type=Path, default=Path("docs/performance_gpu.json"))
    parser.add_argument("--precision", choices=(F16, F32), default=F16)
    parser.add_argument("--runs", type=int, default=200, help="of every row; default: 200")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a stream; default: 10")
    return parser


if __name__ == "__main__":
    sys.exit(main())
