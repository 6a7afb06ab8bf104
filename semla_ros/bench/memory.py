"""Where the memory of a running bundle goes: resident size after each part, then after swaps.

`python -m semla_ros.bench.memory BUNDLE` prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from semla_ros.base_weights import BaseWeights
from semla_ros.bench.fusion import random_adapters
from semla_ros.bench.machine import machine_facts
from semla_ros.bench.resources import resident_mib
from semla_ros.bundle import open_bundle
from semla_ros.engine import create_engine
from semla_ros.engine.text import TextEncoder
from semla_ros.errors import AdapterError
from semla_ros.executors import InlineExecutor, use_one_blas_thread
from semla_ros.swap import AdapterSwapper
from semla_ros.types import AdapterMix, LoraAdapter

_MEMBERS = 5


class _Adapters:
    """Random adapters by name."""

    def __init__(self, adapters: list[LoraAdapter]) -> None:
        self._by_name = {adapter.name: adapter for adapter in adapters}

    def get(self, name: str) -> LoraAdapter:
        """Return the adapter `name`."""
        if name not in self._by_name:
            raise AdapterError(f"expected one of {sorted(self._by_name)!r}, got {name!r}")
        return self._by_name[name]

    def gone(self) -> dict[str, str]:
        """Return no adapter: none has a file that could go away."""
        return {}


def run(bundle_root: Path, *, engine: str = "onnx") -> dict[str, Any]:
    """Return the resident megabytes after each step, and what each swap took.

    The adapters change the transformer blocks of both towers, as SemLA's do; each swap is to
    another mix of all of them.
    """
    use_one_blas_thread()
    bundle = open_bundle(bundle_root, verify=False)
    resident = {"start": resident_mb()}
    with create_engine(engine, bundle, threads=1) as serving:
        resident["engine"] = resident_mb()
        base = BaseWeights.open(bundle)
        resident["base_weights"] = resident_mb()
        text = TextEncoder(bundle, threads=1)
        resident["text_encoder"] = resident_mb()
        blocks = tuple(x for x in bundle.manifest.layers if ".resblocks." in x.name)
        adapters = _Adapters(random_adapters(blocks, members=_MEMBERS))
        swapper = AdapterSwapper(
            serving, adapters, base, text, bundle.manifest.vocabulary, InlineExecutor()
        )
        resident["adapters_and_swapper"] = resident_mb()
        taken = []
        for number in range(_MEMBERS):
            shares = {f"domain{i}": 1.0 + (i + number) % _MEMBERS for i in range(_MEMBERS)}
            mix = AdapterMix.from_weights(shares)
            swapper.request(mix, reason="pinned", stamp_ns=number)
            event = swapper.commit_ready(number)
            if event is not None:
                taken.append({"fuse_ms": event.fuse_ms, "load_ms": event.load_ms})
        resident["after_swaps"] = resident_mb()
        megabytes = sum(base.get(name).nbytes for name in base.layers) / 1e6
    return {
        "machine": machine_facts(),
        "engine": engine,
        "base_weights_mb": megabytes,
        "resident_mb": resident,
        "swaps": taken,
    }


def resident_mb() -> float:
    """Return the resident size of this process in megabytes (10^6)."""
    return resident_mib() * 2**20 / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="resident memory of a running bundle")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--engine", default="onnx")
    given = parser.parse_args()
    json.dump(run(given.bundle, engine=given.engine), sys.stdout, indent=1)
    sys.stdout.write("\n")
