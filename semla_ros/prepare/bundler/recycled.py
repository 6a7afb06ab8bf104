"""RecycleLoRA's own checkpoints: adapters of DINOv2's blocks, as their framework stores them.

A layer of theirs is W_res + s (B_main A_main + B_sub A_sub), q, k and v as one; the frozen
residual W_res is W0 - s B0 A0. Relative to W0, that of the bundle, the change is
s ([B, -B0] [A; A0]): a plain LoRA of twice the rank.

Source: Cho et al., RecycleLoRA, 2026, released code; keys of their backbone alone are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import AdapterError, TrainingError
from semla_ros.core.types import Float32Array, LoraAdapter, LoraLayer
from semla_ros.prepare.bundler.checkpoint_reader import read_checkpoint

ALPHA = 1.0
"""Theirs, always; checkpoints do not say it."""
TOLERANCE = 1e-4
"""Largest norm of what a residual may differ from W0 beside the recycled columns, over W0's."""

_BACKBONE = "backbone."
_FACTOR = ".lora_{side}_{pair}"
_PAIRS = ("main", "sub")
_OURS = re.compile(r"(?:^|\.)(\d+)\.(attention\.[qkvo]_proj|mlp\.fc[12])$")
_PLACES: Mapping[str, tuple[str, ...]] = {
    "attn.qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    "attn.proj": ("attention.o_proj",),
    "mlp.fc1": ("mlp.fc1",),
    "mlp.fc2": ("mlp.fc2",),
}
"""Their layer of a block -> transformers' layers whose weights, stacked, are its weight."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """One of their layers: weight (out, in), a (r, in), b (out, r), both pairs stacked."""

    weight: Float32Array
    a: Float32Array
    b: Float32Array

    @property
    def scaling(self) -> float:
        """Of both pairs."""
        return ALPHA / len(self.a)


def read_recycled(path: Path, bundle: ModelBundle, *, name: str) -> LoraAdapter:
    """Return the adapter in a checkpoint of RecycleLoRA, relative to the base of `bundle`.

    Args:
        path: The checkpoint.
        bundle: A network of transformers on the same DINOv2.
        name: Of the adapter.

    Raises:
        AdapterError: No such checkpoint, or of another backbone.
    """
    try:
        state = read_checkpoint(path)
    except TrainingError as error:
        raise AdapterError(str(error)) from error
    places, base = _places(bundle), BaseWeights.open(bundle)
    layers: dict[str, LoraLayer] = {}
    for module in _modules(state, path):
        block, _, kind = module.removeprefix("blocks.").partition(".")
        names = [places.get(f"{block}.{own}", "") for own in _PLACES.get(kind, ())]
        if not names or not all(names):
            raise AdapterError(
                f"checkpoint {path.name!r} adapts {module!r}: expected a bundle whose backbone is "
                f"the same DINOv2, got {bundle.manifest.name!r} without that layer"
            )
        weights = [base.get(each) for each in names]
        plain = _plain(_stored(state, module, path), np.concatenate(weights), module)
        rows = np.cumsum([len(weight) for weight in weights])[:-1]
        for own, lora_b in zip(names, np.split(plain.lora_b, rows), strict=True):
            layers[own] = LoraLayer(plain.lora_a, np.ascontiguousarray(lora_b), plain.scaling)
    return LoraAdapter(name, layers, bundle.manifest.base_model)


def _places(bundle: ModelBundle) -> dict[str, str]:
    """Return `block.layer` -> the bundle's name of it."""
    found = ((_OURS.search(layer.name), layer.name) for layer in bundle.manifest.layers)
    return {f"{match[1]}.{match[2]}": name for match, name in found if match}


def _modules(state: Mapping[str, Tensor], path: Path) -> Iterator[str]:
    """Yield the names of adapted layers, without the backbone's prefix."""
    ending = _FACTOR.format(side="A", pair="main")
    keys = [key for key in state if key.startswith(_BACKBONE) and key.endswith(ending)]
    if not keys:
        raise AdapterError(
            f"checkpoint {path.name!r}: expected layers such as "
            f"'{_BACKBONE}blocks.0.attn.qkv{ending}', found none: give a checkpoint of RecycleLoRA"
        )
    yield from (key.removeprefix(_BACKBONE).removesuffix(ending) for key in keys)


def _stored(state: Mapping[str, Tensor], module: str, path: Path) -> _Stored:
    prefix = f"{_BACKBONE}{module}"
    pairs = [pair for pair in _PAIRS if prefix + _FACTOR.format(side="A", pair=pair) in state]
    try:
        a, b = (
            [_array(state[prefix + _FACTOR.format(side=side, pair=pair)]) for pair in pairs]
            for side in "AB"
        )
        found = _Stored(_array(state[f"{prefix}.weight"]), np.concatenate(a), np.hstack(b))
        _ = found.weight - found.b @ found.a
    except (KeyError, ValueError) as error:
        raise AdapterError(
            f"checkpoint {path.name!r}, {module!r}: expected weight, A and B that fit each other "
            f"({error}): download it again"
        ) from error
    return found


def _plain(stored: _Stored, weight: Float32Array, module: str) -> LoraLayer:
    """Return the change from W0 `weight` to what the layer does.

    A0 picks single columns, so B0 is what those columns of the residual lack. A file written in
    evaluation mode holds the merged weight in the residual's place.

    Raises:
        AdapterError: The residual is not of this W0.
    """
    if weight.shape != stored.weight.shape:
        raise AdapterError(
            f"{module!r}: expected a weight of {weight.shape!r}, got {stored.weight.shape!r}: "
            "the bundle's DINOv2 is of another size"
        )
    scaling = stored.scaling
    for residual in (stored.weight, stored.weight - scaling * (stored.b @ stored.a)):
        gone = weight - residual
        norms = np.linalg.norm(gone, axis=0)
        columns = np.flatnonzero(norms > scaling / 2)  # B0 has unit columns
        rest = float(np.linalg.norm(np.delete(norms, columns)))
        if len(columns) <= len(stored.a) and rest <= TOLERANCE * float(np.linalg.norm(weight)):
            first = np.zeros((len(columns), weight.shape[1]), np.float32)
            first[np.arange(len(columns)), columns] = 1.0
            return LoraLayer(
                np.concatenate([stored.a, first]),
                np.hstack([stored.b, -gone[:, columns] / np.float32(scaling)]),
                scaling,
            )
    raise AdapterError(
        f"{module!r}: expected a residual of the bundle's own base weights, at most "
        f"{len(stored.a)} columns apart, in float32; got another: import the DINOv2 that it was "
        "trained on as the base"
    )


def _array(tensor: Tensor) -> Float32Array:
    array: Float32Array = tensor.float().numpy()
    if array.ndim != 2:
        raise ValueError(f"a matrix expected, got {array.shape!r}")
    return array
