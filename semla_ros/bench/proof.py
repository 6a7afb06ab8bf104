"""`semla bench proof`: which damaged adapters the proof before serving refuses, which sound ones.

Swaps go between all adapters, all pairs of them and the base, then to damaged adapters.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from semla_ros.bench.record import BenchRecord, Row
from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.files.image_file import read_image
from semla_ros.core.types import (
    AdapterMix,
    Float64Array,
    LabelArray,
    LoraAdapter,
    LoraLayer,
    UInt8Array,
)
from semla_ros.demo.footage import demo_drive
from semla_ros.engine import create_engine
from semla_ros.engine.closed_text import open_text
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
from semla_ros.library.seal import CONFIG_FILE, TENSOR_FILE
from semla_ros.library.storage import read_adapter
from semla_ros.pipeline import default_bundle
from semla_ros.pipeline.weight_set import make_weight_set

CONSTANTS = (0.1, 1.0, 10.0, 100.0, -3.0)
SPOILT = 0.5
"""A median mask less like the sound adapter's than this counts as spoilt."""

_OVERWRITTEN = 3584
"""Values of four bytes: 14 kB."""
_MAX_PIXELS = 33_177_600
_NOTES = (
    "Shares are of all swaps of that kind, of every adapter on every image from every other set; "
    f"spoilt: under {SPOILT:g} of the mask is as the sound adapter's.",
)


@dataclass(frozen=True, slots=True)
class Answers:
    """What one weight set says: labels of each image, and their shares (N, T)."""

    labels: Sequence[LabelArray]
    shares: Float64Array


class Stand:
    """A bundle with an engine, its adapters and some images; close its engine."""

    def __init__(self, bundle: ModelBundle, images: Sequence[UInt8Array]) -> None:
        self.base = BaseWeights.open(bundle)
        self.engine = create_engine("onnx", bundle, threads=0)
        self.images = [*images, golden_image(self.engine.facts.size)]
        self.folders = sorted(p for p in bundle.library.iterdir() if p.is_dir())
        self.adapters = {path.name: read_adapter(path) for path in self.folders}
        self._norms: dict[str, float] = {}
        self._text = open_text(bundle)
        self._vocabulary = bundle.manifest.vocabulary

    def answers(self, *adapters: LoraAdapter) -> Answers:
        """Return what the even mix of `adapters` says, of the base without any."""
        names = tuple(adapter.name for adapter in adapters)
        even = tuple(1 / len(names) for _ in names)
        weight_set = make_weight_set(
            AdapterMix(names, even) if names else AdapterMix.base_only(),
            adapters,
            base=self.base,
            text=self._text,
            vocabulary=self._vocabulary,
            image_layers=self.engine.facts.layers,
        )
        self.engine.prepare(weight_set)
        self.engine.commit()
        labels = [labels_of(self.engine.logits(image)) for image in self.images]
        classes = len(self._vocabulary.names)
        return Answers(labels, np.array([shares_of(each, classes) for each in labels]))

    def blames(self, adapter: LoraAdapter) -> bool:
        """Return whether the weights alone have `adapter` refused."""
        return bool(overgrown(adapter, self.base.get, self._norms))

    def largest_change(self, adapter: LoraAdapter) -> float:
        """Return the largest change of a layer relative to the layer's own norm."""
        self.blames(adapter)
        return max(change_norm(x) / self._norms[name] for name, x in adapter.layers.items())


def run_proof(
    bundle: Path | None, *, images: int, foreign: Path | None, positions: int, command: str
) -> BenchRecord:
    """Return the record of `bundle` on frames of the demo drive, golden noise and `foreign`.

    Args:
        bundle: None for the demo bundle.
        images: Of the drive, and of `foreign`.
        foreign: A folder of other images.
        positions: Of every constant in every adapter's file.
        command: Measures it again.
    """
    drive = demo_drive(seconds=60.0, fps=5.0)
    chosen = np.linspace(0, len(drive) - 1, images).round().astype(int)
    seen = [drive.frame(int(i)).image.rgb for i in chosen]
    if foreign is not None:
        paths = sorted(p for p in foreign.iterdir() if p.suffix in (".png", ".jpg"))
        step = max(1, len(paths) // images)
        seen += [read_image(path, max_pixels=_MAX_PIXELS) for path in paths[::step][:images]]
    stand = Stand(open_bundle(bundle or default_bundle()), seen)
    with stand.engine:
        sets, sound = _sound(stand)
        rows = _damaged(stand, sets, positions=positions)
    tables = [{"title": "Sound adapters", "rows": [sound]}]
    title = "What the proof before serving refuses"
    return BenchRecord(title, command, tuple(rows), notes=_NOTES, extra={"tables": tables})


def _sound(stand: Stand) -> tuple[dict[str, Answers], Row]:
    """Return the answers of every sound set, and what the proof says of swaps between them."""
    sets = {"base": stand.answers()}
    mixes = [(name,) for name in stand.adapters] + list(combinations(stand.adapters, 2))
    for names in tqdm(mixes, desc="sound", disable=None):
        sets["+".join(names)] = stand.answers(*(stand.adapters[name] for name in names))
    swaps = [
        (before, after)
        for one, other in permutations(sets, 2)
        for before, after in zip(sets[one].shares, sets[other].shares, strict=True)
    ]
    adapters = stand.adapters.values()
    return sets, {
        "sets": len(sets),
        "images": len(stand.images),
        "swaps": len(swaps),
        "refused_by_picture": sum(takeover(*swap) is not None for swap in swaps),
        "refused_by_weights": sum(map(stand.blames, adapters)),
        "largest_share_of_a_class": max(float(each.shares.max()) for each in sets.values()),
        "largest_growth_of_the_largest_share": max(
            float(after.max() - before.max()) for before, after in swaps
        ),
        "largest_change_of_a_layer": max(map(stand.largest_change, adapters)),
        "largest_change_believed": MAX_CHANGE,
    }


def damages(
    folder: Path, adapter: LoraAdapter, *, positions: int, rng: np.random.Generator
) -> Iterator[tuple[str, LoraAdapter]]:
    """Yield kind and damaged adapter of what lies in `folder`."""
    for value in CONSTANTS:
        for _ in range(positions):
            yield f"14 kB of {value:g}", _overwritten(folder, value, rng)
    yield "sign of B turned", _each(adapter, lambda x: replace(x, lora_b=-x.lora_b))
    yield "times 10", _each(adapter, lambda x: replace(x, scaling=10 * x.scaling))
    yield "times 100", _each(adapter, lambda x: replace(x, scaling=100 * x.scaling))
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


def _each(adapter: LoraAdapter, change: Callable[[LoraLayer], LoraLayer]) -> LoraAdapter:
    return replace(adapter, layers={name: change(x) for name, x in adapter.layers.items()})


def _rotated(adapter: LoraAdapter) -> LoraAdapter:
    groups: dict[Any, list[str]] = {}
    for name, layer in adapter.layers.items():
        groups.setdefault((layer.lora_a.shape, layer.lora_b.shape), []).append(name)
    pairs = ((n, m) for g in groups.values() for n, m in zip(g, g[1:] + g[:1], strict=True))
    return replace(adapter, layers={n: adapter.layers[m] for n, m in pairs})


def _noise(layer: LoraLayer, rng: np.random.Generator) -> LoraLayer:
    made = []
    for factor in (layer.lora_a, layer.lora_b):
        noise = rng.standard_normal(factor.shape).astype(np.float32)
        made.append(noise * np.float32(np.linalg.norm(factor) / np.linalg.norm(noise)))
    return LoraLayer(made[0], made[1], layer.scaling)


def _damaged(stand: Stand, sets: dict[str, Answers], *, positions: int) -> list[Row]:
    """Return by kind of damage: how many adapters, what they do to masks, who refuses them."""
    rng = np.random.default_rng(0)
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for folder in tqdm(stand.folders, desc="damaged", disable=None):
        name = folder.name
        others = [sets[each] for each in ("base", *stand.adapters) if each != name]
        for kind, broken in damages(folder, stand.adapters[name], positions=positions, rng=rng):
            after = stand.answers(broken)
            alike = _alike(after, sets[name])
            caught = np.array(
                [
                    takeover(before, shares) is not None
                    for each in others
                    for before, shares in zip(each.shares, after.shares, strict=True)
                ]
            )
            noticed = np.concatenate([1 - _alike(each, after) > NOTICED for each in others])
            blamed = noticed & stand.blames(broken)
            shares = (np.median(alike), blamed.mean(), caught.mean(), (caught | blamed).mean())
            found.setdefault(kind, []).append(shares)
    return [_row(kind, each) for kind, each in found.items()]


def _alike(one: Answers, other: Answers) -> Float64Array:
    """Return the share of equal labels of each image."""
    pairs = zip(one.labels, other.labels, strict=True)
    return np.array([(mine == theirs).mean() for mine, theirs in pairs])


def _row(kind: str, found: Sequence[tuple[float, float, float, float]]) -> Row:
    alike, blamed, caught, either = np.array(found).T
    spoilt = alike < SPOILT
    return {
        "damage": kind,
        "adapters": len(found),
        "mask_as_sound_p50": float(np.median(alike)),
        "refused_by_picture": float(caught.mean()),
        "refused_by_weights": float(blamed.mean()),
        "refused": float(either.mean()),
        "spoilt": int(spoilt.sum()),
        "refused_of_spoilt": float(either[spoilt].mean()) if spoilt.any() else None,
    }
