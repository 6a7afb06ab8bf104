"""The linear layers an adapter may change: names, shapes and whether official SemLA uses them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from semla_ros.network.config import AGGREGATOR_PREFIX, CLIP_PREFIX, MLP_RATIO, CatSegConfig

Tower = Literal["visual", "text", "aggregator"]


@dataclass(frozen=True)
class AdaptableLayer:
    """One weight matrix that a LoRA may change.

    Attributes:
        name: module name as adapter files write it, without `base_model.model.`.
        parameter: key of the weight in the state dict.
        shape: (out, in) of the weight in the state dict.
        tower: which part of the network reads it.
        inert_in_official: official SemLA never executes a LoRA here (q, k, v of CLIP).
        used: the forward pass reads the weight (the last visual block has no queries or keys).
    """

    name: str
    parameter: str
    shape: tuple[int, int]
    tower: Tower
    inert_in_official: bool = False
    used: bool = True


def adaptable_layers(config: CatSegConfig) -> tuple[AdaptableLayer, ...]:
    """Return every adaptable layer: visual blocks, text blocks, aggregator, in network order.

    Source: the module list of the official SemLA adapters (214 for ViT-L/14, 154 for ViT-B/16).
    """
    return (
        *_clip_tower(f"{CLIP_PREFIX}visual.", config.vision_width, config.vision_layers, "visual"),
        *_clip_tower(CLIP_PREFIX, config.text_width, config.text_layers, "text"),
        *_aggregator(config),
    )


def output_projections(config: CatSegConfig) -> tuple[AdaptableLayer, ...]:
    """Return `out_proj` of every attention of CLIP, which no official adapter changes.

    Source: PEFT leaves them out of the official adapters, as torch's attention hides its layers.
    """
    towers: tuple[tuple[str, int, int, Tower], ...] = (
        (f"{CLIP_PREFIX}visual.", config.vision_width, config.vision_layers, "visual"),
        (CLIP_PREFIX, config.text_width, config.text_layers, "text"),
    )
    return tuple(
        _linear(f"{prefix}transformer.resblocks.{index}.attn.out_proj", (width, width), tower)
        for prefix, width, blocks, tower in towers
        for index in range(blocks)
    )


def _clip_tower(prefix: str, width: int, layers: int, tower: Tower) -> Iterator[AdaptableLayer]:
    for index in range(layers):
        block = f"{prefix}transformer.resblocks.{index}."
        dense = tower == "visual" and index == layers - 1
        for letter in "qkv":
            name = f"{block}attn.{letter}_proj"
            yield AdaptableLayer(
                name,
                f"{name}_weight",
                (width, width),
                tower,
                inert_in_official=True,
                used=letter == "v" or not dense,
            )
        yield _linear(f"{block}mlp.c_fc", (MLP_RATIO * width, width), tower)
        yield _linear(f"{block}mlp.c_proj", (width, MLP_RATIO * width), tower)


def _aggregator(config: CatSegConfig) -> Iterator[AdaptableLayer]:
    dim, mlp = config.hidden_dim, MLP_RATIO * config.hidden_dim
    appearance, text = dim + config.appearance_dim, dim + config.text_guidance_dim
    for index in range(config.aggregator_layers):
        layer = f"{AGGREGATOR_PREFIX}layers.{index}."
        shapes: dict[str, tuple[int, int]] = {}
        for block in ("block_1", "block_2"):
            swin = f"swin_block.{block}."
            shapes |= {f"{swin}attn.{letter}": (dim, appearance) for letter in "qk"}
            shapes |= {f"{swin}attn.{module}": (dim, dim) for module in ("v", "proj")}
            shapes |= {f"{swin}mlp.fc1": (mlp, dim), f"{swin}mlp.fc2": (dim, mlp)}
        shapes |= {f"attention.attention.{letter}": (dim, text) for letter in "qk"}
        shapes |= {"attention.attention.v": (dim, dim)}
        shapes |= {"attention.MLP.0": (mlp, dim), "attention.MLP.2": (dim, mlp)}
        for module, shape in shapes.items():
            yield _linear(f"{layer}{module}", shape, "aggregator")


def _linear(name: str, shape: tuple[int, int], tower: Tower) -> AdaptableLayer:
    return AdaptableLayer(name, f"{name}.weight", shape, tower)
