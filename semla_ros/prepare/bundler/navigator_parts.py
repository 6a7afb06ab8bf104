"""A navigator on its way into a bundle: its encoder, and what the manifest says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import onnx
from torch import nn

from semla_ros.bundle import ModelBundle, NavigatorSpec
from semla_ros.navigator.prompts import PromptEmbeddings

EMBEDDING, STATISTICS, BOTH = "embedding", "statistics", "both"
FEATURES = (EMBEDDING, STATISTICS, BOTH)
"""What tells domains apart: the encoder's own embedding, statistics of its early layers, both."""


@dataclass(frozen=True, slots=True)
class NavigatorText:
    """The text half of a navigator.

    Attributes:
        module: Tokens (T, L) int64, zero after the end mark -> features (T, E).
        context_length: L, in tokens.
        tokenizer_json: Its tokenizer.
    """

    module: nn.Module
    context_length: int
    tokenizer_json: str


@dataclass(frozen=True, slots=True)
class NavigatorParts:
    """An image encoder, (1, 3, H, W) -> (1, E), and what the manifest says of it.

    Attributes:
        encoder: The network, or its graph: input `image`, output `embedding`.
        spec: Its entry in the manifest.
        prompts: Words in its space, None where it has no text tower.
        text: Its text half, None likewise.
    """

    encoder: nn.Module | onnx.ModelProto
    spec: NavigatorSpec
    prompts: PromptEmbeddings | None = None
    text: NavigatorText | None = None


SEGMENTER: Literal["segmenter"] = "segmenter"
"""The segmentation network's own early layers: nothing else runs."""

Navigator: TypeAlias = NavigatorParts | ModelBundle | Literal["segmenter"] | None
"""What becomes a bundle's navigator; a bundle: the one that it has; None: explicit mixes only."""


def spec_of(navigator: Navigator) -> NavigatorSpec | None:
    """Return the manifest's entry where it is known before the network is exported."""
    if isinstance(navigator, NavigatorParts):
        return navigator.spec
    return navigator.manifest.navigator if isinstance(navigator, ModelBundle) else None
