"""The text tower of an open_clip model, alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.bundler.clip import import_open_clip
from semla_ros.prepare.bundler.hf_clip import is_hf_clip, text_tower_from_hf

_OWN_PREFIX = "text."
_NO_VISION = {"image_size": 8, "patch_size": 8, "width": 64, "layers": 1, "head_width": 64}
_NOT_TEXT = ("visual.", "logit_")
_FOREIGN = ("hf_model_name", "hf_tokenizer_name")
_BATCH = 64
_ENDS = ("argmax", "eos")


@dataclass(frozen=True, slots=True)
class ClipText:
    """A text tower with its tokenizer.

    Attributes:
        module: Tokens (T, L) int64, zero after the end mark -> features (T, D).
        context_length: L, in tokens.
        tokenizer: Texts -> such tokens.
    """

    module: Text
    context_length: int
    tokenizer: Any

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the features (T, D) of `texts`."""
        parts = [texts[i : i + _BATCH] for i in range(0, len(texts), _BATCH)]
        return torch.cat([self.module.encode(self.tokenizer(list(part))) for part in parts])


def text_tower(
    config: Mapping[str, Any], state: Mapping[str, Tensor], *, quick_gelu: bool
) -> ClipText:
    """Return what turns texts into the features that image embeddings are compared with.

    Args:
        config: open_clip's configuration of the model.
        state: The whole checkpoint, in open_clip's or transformers' layout.
        quick_gelu: The activation its weights were trained with.

    Raises:
        TrainingError: The tower or its tokenizer is not CLIP's own, or its weights are not there.
    """
    open_clip = import_open_clip()
    settings = dict(config["text_cfg"])
    tokenizer = _tokenizer(open_clip, settings)
    model = open_clip.model.CLIP(
        embed_dim=config["embed_dim"],
        vision_cfg=_NO_VISION,
        text_cfg=settings,
        quick_gelu=quick_gelu,
    ).eval()
    _fill(model, state)
    return ClipText(Text(model).eval(), int(settings.get("context_length", 77)), tokenizer)


def _tokenizer(open_clip: Any, settings: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return CLIP's tokenizer, if it is the one that the tower was trained with."""
    foreign = [key for key in _FOREIGN if settings.get(key)]
    if foreign:
        raise TrainingError(
            f"expected CLIP's own text tower, got one with {foreign[0]!r} "
            f"{settings[foreign[0]]!r}: only CLIP's tokenizer is known"
        )
    tokenizer = open_clip.tokenizer.SimpleTokenizer(
        context_length=settings.get("context_length", 77), **settings.get("tokenizer_kwargs", {})
    )
    if tokenizer.vocab_size != settings.get("vocab_size", tokenizer.vocab_size):
        raise TrainingError(
            f"expected a text tower of {tokenizer.vocab_size} tokens, got "
            f"{settings['vocab_size']!r}: only CLIP's tokenizer is known"
        )
    return tokenizer


class Text(nn.Module):
    """The text half of an open_clip model."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401  open_clip is untyped
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the features (T, D) of padded tokens (T, L)."""
        features: Tensor = self.model.encode_text(tokens)
        return features

    def encode(self, tokens: Tensor) -> Tensor:
        """Return the features of padded tokens (T, L), the padding left out where it is not seen.

        Under a causal mask nothing after the end mark reaches it: most of the work is saved.
        """
        model = self.model
        if model.attn_mask is None or model.text_pool_type not in _ENDS:
            return self(tokens)  # type: ignore[no-any-return]
        length = int(tokens.argmax(dim=1).max()) + 1  # the end mark has the highest id
        shorter = {
            "model.positional_embedding": model.positional_embedding[:length],
            "model.attn_mask": model.attn_mask[:length, :length],
        }
        features: Tensor = functional_call(self, shorter, (tokens[:, :length],))
        return features


def _fill(model: Any, state: Mapping[str, Tensor]) -> None:  # noqa: ANN401  open_clip is untyped
    if is_hf_clip(state):
        state = text_tower_from_hf(state)
    expected = {k: v for k, v in model.state_dict().items() if not k.startswith(_NOT_TEXT)}
    found = {k: state.get(k, state.get(_OWN_PREFIX + k)) for k in expected}
    odd = [k for k, v in found.items() if v is None or v.shape != expected[k].shape]
    if odd:
        raise TrainingError(
            f"{len(odd)} of {len(expected)} tensors of the text tower are missing from the "
            f"weights or of another shape, e.g. {odd[:2]!r}: give the whole CLIP"
        )
    model.load_state_dict(
        {k: v.to(torch.float32) for k, v in found.items() if v is not None}, strict=False
    )
