"""What frames feel of the proof of a swap: their time while one runs, and while none does.

`python -m semla_ros.bench.proof_cost` prints JSON. Blocks of frames take turns, so that whatever
else the machine does meets both alike; in the one kind proofs follow one another without a pause,
on a thread as nice as the swapper's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from threading import Event
from typing import Any

from semla_ros.bench.collapse import Stand
from semla_ros.bench.machine import machine_facts
from semla_ros.bench.measures import summary
from semla_ros.engine.proof import golden_image
from semla_ros.executors import BackgroundExecutor
from semla_ros.pipeline.assembly import default_bundle
from semla_ros.timing import now_ms

_BLOCK = 20


def run(bundle: Path, *, blocks: int, engine: str) -> dict[str, Any]:
    """Return times of frames with and without proofs, and of the proofs, in ms."""
    stand = Stand(bundle, [], engine=engine)
    serving = stand.engine
    first, second, *_ = stand.adapters.values()
    image = golden_image(serving.size)
    times: dict[str, list[float]] = {"without": [], "with": [], "proof": []}
    with serving, BackgroundExecutor("semla-proof") as executor:
        stand.answers(first)
        serving.prepare(stand.weight_set(second))
        serving.prove(image)  # opens what a proof needs
        for _ in range(blocks):
            for kind in ("without", "with"):
                frames = _frames(lambda: serving.infer(image))
                if kind == "with":
                    _beside(executor, lambda: serving.prove(image), frames, times)
                else:
                    frames(times["without"])
    figures = {kind: summary(taken) for kind, taken in times.items()}
    return {"machine": machine_facts(), "engine": engine, **figures}


def _frames(call: Callable[[], object]) -> Callable[[list[float]], None]:
    def block(taken: list[float]) -> None:
        taken += [_timed(call) for _ in range(_BLOCK)]

    return block


def _beside(
    executor: Executor,
    proof: Callable[[], object],
    frames: Callable[[list[float]], None],
    times: dict[str, list[float]],
) -> None:
    """Time frames while proofs run on `executor`."""
    stop = Event()

    def prove() -> None:
        times["proof"].append(_timed(proof))
        while not stop.is_set():
            times["proof"].append(_timed(proof))

    running = executor.submit(prove)
    frames(times["with"])
    stop.set()
    running.result()


def _timed(call: Callable[[], object]) -> float:
    started = now_ms()
    call()
    return now_ms() - started


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="what frames feel of the proof of a swap")
    parser.add_argument("--bundle", type=Path, default=None, help="default: the demo bundle")
    parser.add_argument("--blocks", type=int, default=10, help=f"of {_BLOCK} frames, of each kind")
    parser.add_argument("--engine", default="onnx")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    figures = run(given.bundle or default_bundle(), blocks=given.blocks, engine=given.engine)
    json.dump(figures, sys.stdout, indent=1)
    sys.stdout.write("\n")
