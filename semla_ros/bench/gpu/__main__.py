"""`python -m semla_ros.bench.gpu`: what scripts/gpu_check runs."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from semla_ros.bench.gpu.bench import GpuCheck
from semla_ros.bench.gpu.rows import captured_graphs, factors, latencies, refits, swaps
from semla_ros.bench.gpu.stream import streams
from semla_ros.bench.record import BenchRecord, Row, save_record
from semla_ros.bundle import open_bundle
from semla_ros.engine.tensorrt.toolkit import Toolkit
from semla_ros.errors import SemlaError
from semla_ros.pipeline import default_bundle

EXIT_MISSING = 2

_log = logging.getLogger("semla_ros.bench.gpu")

QUESTIONS = (latencies, factors, refits, swaps, streams, captured_graphs)

NOTES = (
    "Times are of the whole call on the host, the wait for the device within; nothing is trimmed.",
    "Frame latency is copy-out and run of the probe; frame with post-processing is what a user "
    "waits for.",
    "golden_error and nudged_error are relative (L2), against ONNX Runtime in FP32.",
    "A late frame took longer than one period of the camera.",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure everything and write the record; 2 with what is missing where there is no GPU."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="gpu_check: %(message)s")
    try:
        bundle = open_bundle(args.bundle or default_bundle(), verify=False)
        toolkit = Toolkit.open()
        platform, lines = toolkit.platform, toolkit.features.lines()
        toolkit.cuda.close()
        _log.info("TensorRT %s on %s", platform.tensorrt, platform.gpu)
        check = GpuCheck(
            bundle,
            precision=args.precision,
            runs=args.runs,
            seconds=args.seconds,
            folder=args.cache,
        )
        rows = measured(check)
        record = BenchRecord(
            title=f"TensorRT on {platform.gpu}",
            command=shlex.join(["scripts/gpu_check", *(sys.argv[1:] if argv is None else argv)]),
            rows=rows,
            notes=NOTES,
            extra={
                "gpu": platform.gpu,
                "compute_capability": platform.compute_capability,
                "tensorrt": platform.tensorrt,
                "bundle": bundle.manifest.name,
                "features": lines,
            },
        )
        save_record(record, args.out)
    except SemlaError as error:
        _log.error("%s", error)
        return EXIT_MISSING
    failed = sum("error" in row for row in rows)
    _log.info("wrote %s: %d rows, %d failed", args.out, len(rows), failed)
    return 1 if failed else 0


def measured(check: GpuCheck) -> tuple[Row, ...]:
    """Return the rows of every question; one that fails leaves a row that says why."""
    rows: list[Row] = []
    for question in QUESTIONS:
        try:
            for row in question(check):
                _log.info("%s", ", ".join(f"{k} {_shown(v)}" for k, v in row.items()))
                rows.append(row)
        except SemlaError as error:
            _log.error("%s failed: %s", question.__name__, error)
            rows.append({"group": question.__name__, "variant": "", "error": str(error)})
    return tuple(rows)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__)
    parser.add_argument("--bundle", type=Path, help="default: the demo bundle")
    parser.add_argument("--out", type=Path, default=Path("docs/performance_gpu.json"))
    parser.add_argument("--precision", choices=("fp16", "fp32"), default="fp16")
    parser.add_argument("--runs", type=int, default=200, help="of every row; default: 200")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a stream; default: 10")
    parser.add_argument("--cache", type=Path, help="folder of plans")
    return parser


if __name__ == "__main__":
    sys.exit(main())
