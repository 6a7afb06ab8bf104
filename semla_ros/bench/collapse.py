"""Which damaged adapters does the proof before serving refuse, and does it refuse sound ones?

`python -m semla_ros.bench.collapse [--foreign DIR]` prints JSON: `sound` counts swaps between all
adapters, all pairs of them and the base; `damaged` says by kind of damage how many were refused.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from semla_ros.base_weights import BaseWeights
from semla_ros.bundle import open_bundle
from semla_ros.demo.footage import demo_drive
from semla_ros.engine import create_engine
from semla_ros.engine.base import SegmentationEngine
from semla_ros.engine.proof import (
    MAX_CHANGE,
    NOTICED,
    change_norm,
    golden_image,
    labels_of,
    overgrown,
    shares_of,
    takeover,
)
from semla_ros.engine.text import TextEncoder
from semla_ros.image_file import read_image
from semla_ros.library.seal import CONFIG_FILE, TENSOR_FILE
from semla_ros.library.storage import read_adapter
from semla_ros.pipeline.assembly import default_bundle
from semla_ros.types import (
    AdapterMix,
    Float64Array,
    LabelArray,
    LoraAdapter,
    LoraLayer,
    UInt8Array,
    WeightSet,
)
from semla_ros.weight_set import make_weight_set

CONSTANTS = (0.1, 1.0, 10.0, 100.0, -3.0)
SPOILT = 0.5
"""A median mask less like the sound adapter's than this counts as spoilt."""

_OVERWRITTEN = 3584
"""Values of four bytes: 14 kB."""
_MAX_PIXELS = 33_177_600


@dataclass(frozen=True, slots=True)
class Answers:
    """What one weight set says: labels of each image, and their shares (N, T)."""

    labels: Sequence[LabelArray]
    shares: Float64Array


class Stand:
    """A bundle, its adapters and some images."""

    def __init__(
        self, bundle: Path, images: Sequence[UInt8Array], *, engine: str = "onnx"
    ) -> None:
        """Open the bundle with an engine."""
        self.bundle = open_bundle(bundle)
        self.images = images
        self.base = BaseWeights.open(self.bundle)
        self.engine: SegmentationEngine = create_engine(engine, self.bundle, threads=0)
        self.folders = sorted(p for p in self.bundle.library.iterdir() if p.is_dir())
        self.adapters = {path.name: read_adapter(path) for path in self.folders}
        self.norms: dict[str, float] = {}
        self._text = TextEncoder(self.bundle, threads=1)

    def weight_set(self, *adapters: LoraAdapter) -> WeightSet:
        """Return the even mix of `adapters`, the base without any."""
        names = tuple(adapter.name for adapter in adapters)
        even = tuple(1 / len(names) for _ in names)
        mix = AdapterMix(names, even) if names else AdapterMix.base_only()
        return make_weight_set(
            mix,
            adapters,
            base=self.base,
            text=self._text,
            vocabulary=self.bundle.manifest.vocabulary,
            image_layers=self.engine.layers,
        )

    def answers(self, *adapters: LoraAdapter) -> Answers:
        """Return what the even mix of `adapters` says, of the base without any."""
        self.engine.prepare(self.weight_set(*adapters))
        self.engine.commit()
        labels = [labels_of(self.engine.logits(image)) for image in self.images]
        classes = len(self.bundle.manifest.vocabulary.names)
        shares = np.array([shares_of(each, classes) for each in labels])
        return Answers(labels, shares)

    def blames(self, adapter: LoraAdapter) -> bool:
        """Return whether the weights alone have `adapter` refused."""
        return bool(overgrown(adapter, self.base.get, self.norms))

    def largest_change(self, adapter: LoraAdapter) -> float:
        """Return the largest change of a layer relative to the layer's own norm."""
        self.blames(adapter)
        return max(change_norm(each) / self.norms[name] for name, each in adapter.layers.items())


def sound(stand: Stand) -> tuple[dict[str, Answers], dict[str, Any]]:
    """Return the answers of every sound set, and what the proof says of swaps between them."""
    sets = {"base": stand.answers()}
    mixes = [(name,) for name in stand.adapters] + list(combinations(stand.adapters, 2))
    for names in tqdm(mixes, desc="sound", disable=None):
        sets["+".join(names)] = stand.answers(*(stand.adapters[name] for name in names))
    refused = swaps = 0
    growths = []
    for one, other in permutations(sets, 2):
        for before, after in zip(sets[one].shares, sets[other].shares, strict=True):
            swaps += 1
            refused += takeover(before, after) is not None
            growths.append(float(after.max() - before.max()))
    facts = {
        "sets": len(sets),
        "images": len(stand.images),
        "swaps": swaps,
        "refused_by_picture": refused,
        "refused_by_weights": sum(map(stand.blames, stand.adapters.values())),
        "largest_share_of_a_class": max(float(each.shares.max()) for each in sets.values()),
        "largest_growth_of_the_largest_share": max(growths),
        "largest_change_of_a_layer": max(map(stand.largest_change, stand.adapters.values())),
        "largest_change_believed": MAX_CHANGE,
    }
    return sets, facts


def damages(
    folder: Path, adapter: LoraAdapter, *, positions: int, rng: np.random.Generator
) -> Iterator[tuple[str, LoraAdapter]]:
    """Yield kind and damaged adapter of what lies in `folder`."""
    for value in CONSTANTS:
        for _ in range(positions):
            yield f"14 kB of {value:g}", _overwritten(folder, value, rng)
    yield "sign of B turned", _each(adapter, lambda x: replace(x, lora_b=-x.lora_b))
    for factor in (10, 100):
        yield (
            f"times {factor}",
            _each(adapter, lambda x, f=factor: replace(x, scaling=f * x.scaling)),
        )
    yield "layers of one shape rotated", _rotated(adapter)
    yield "random factors of equal norm", _each(adapter, lambda x: _noise(x, rng))


def _overwritten(folder: Path, value: float, rng: np.random.Generator) -> LoraAdapter:
    """Return the adapter of `folder` with 14 kB somewhere in its file set to `value`."""
    content = (folder / TENSOR_FILE).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    values = np.frombuffer(content[start:], np.float32).copy()
    first = int(rng.integers(0, max(1, len(values) - _OVERWRITTEN)))
    values[first : first + _OVERWRITTEN] = value
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copyfile(folder / CONFIG_FILE, Path(scratch) / CONFIG_FILE)
        (Path(scratch) / TENSOR_FILE).write_bytes(content[:start] + values.tobytes())
        return read_adapter(Path(scratch), name=folder.name)


def _each(adapter: LoraAdapter, change: Any) -> LoraAdapter:  # noqa: ANN401  layer to layer
    return replace(adapter, layers={name: change(x) for name, x in adapter.layers.items()})


def _rotated(adapter: LoraAdapter) -> LoraAdapter:
    groups: dict[tuple[tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for name, layer in adapter.layers.items():
        groups.setdefault((layer.lora_a.shape, layer.lora_b.shape), []).append(name)
    moved = {
        n: adapter.layers[m]
        for g in groups.values()
        for n, m in zip(g, g[1:] + g[:1], strict=True)
    }
    return replace(adapter, layers=moved)


def _noise(layer: LoraLayer, rng: np.random.Generator) -> LoraLayer:
    made = []
    for factor in (layer.lora_a, layer.lora_b):
        noise = rng.standard_normal(factor.shape).astype(np.float32)
        made.append(noise * np.float32(np.linalg.norm(factor) / np.linalg.norm(noise)))
    return LoraLayer(made[0], made[1], layer.scaling)


def damaged(stand: Stand, sets: dict[str, Answers], *, positions: int) -> dict[str, Any]:
    """Return by kind of damage: how many adapters, what they do to masks, who refuses them."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[tuple[float, float, float, float]]] = {}
    for folder in tqdm(stand.folders, desc="damaged", disable=None):
        name = folder.name
        others = [sets[each] for each in ("base", *stand.adapters) if each != name]
        for kind, broken in damages(folder, stand.adapters[name], positions=positions, rng=rng):
            answers = stand.answers(broken)
            alike = [
                float((mine == sound).mean())
                for mine, sound in zip(answers.labels, sets[name].labels, strict=True)
            ]
            caught = [
                takeover(before, after) is not None
                for each in others
                for before, after in zip(each.shares, answers.shares, strict=True)
            ]
            noticed = [
                float((before != after).mean()) > NOTICED
                for each in others
                for before, after in zip(each.labels, answers.labels, strict=True)
            ]
            blamed = np.array(noticed) & stand.blames(broken)
            either = float((np.array(caught) | blamed).mean())
            row = (float(np.median(alike)), float(blamed.mean()), float(np.mean(caught)), either)
            rows.setdefault(kind, []).append(row)
    return {kind: _figures(found) for kind, found in rows.items()}


def _figures(rows: Sequence[tuple[float, float, float, float]]) -> dict[str, Any]:
    """Return shares of all swaps, of every adapter of a kind on every image from every set."""
    alike, blamed, caught, either = (np.array(column) for column in zip(*rows, strict=True))
    spoilt = alike < SPOILT
    return {
        "adapters": len(rows),
        "mask_as_sound_p50": float(np.median(alike)),
        "refused_by_weights": float(blamed.mean()),
        "refused_by_picture": float(caught.mean()),
        "refused": float(either.mean()),
        "spoilt": int(spoilt.sum()),
        "refused_of_spoilt": float(either[spoilt].mean()) if spoilt.any() else None,
    }


def run(bundle: Path, *, images: int, foreign: Path | None, positions: int) -> dict[str, Any]:
    """Return the figures of `bundle` on frames of the demo drive, golden noise and `foreign`."""
    drive = demo_drive(seconds=60.0, fps=5.0)
    chosen = np.linspace(0, len(drive) - 1, images).round().astype(int)
    seen = [drive.frame(int(i)).image.rgb for i in chosen]
    if foreign is not None:
        paths = sorted(p for p in foreign.iterdir() if p.suffix in (".png", ".jpg"))
        step = max(1, len(paths) // images)
        seen += [read_image(path, max_pixels=_MAX_PIXELS) for path in paths[::step][:images]]
    stand = Stand(bundle, seen)
    stand.images = [*seen, golden_image(stand.engine.size)]
    with stand.engine:
        sets, facts = sound(stand)
        return {"sound": facts, "damaged": damaged(stand, sets, positions=positions)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="what the proof before serving refuses")
    parser.add_argument("--bundle", type=Path, default=None, help="default: the demo bundle")
    parser.add_argument("--images", type=int, default=16, help="of the drive, and of --foreign")
    parser.add_argument("--foreign", type=Path, default=None, help="a folder of other images")
    parser.add_argument("--positions", type=int, default=4, help="of every constant and adapter")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    figures = run(
        given.bundle or default_bundle(),
        images=given.images,
        foreign=given.foreign,
        positions=given.positions,
    )
    json.dump(figures, sys.stdout, indent=1)
    sys.stdout.write("\n")
