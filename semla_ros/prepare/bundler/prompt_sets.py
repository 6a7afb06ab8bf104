"""Lists of prompts, and their embeddings by an open_clip text tower."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semla_ros.core.errors import TrainingError
from semla_ros.core.files.structured_text import from_yaml
from semla_ros.core.shipped import shipped_files
from semla_ros.navigator.prompts import PromptEmbeddings

DEFAULT_SET = "driving"
_MAX_BYTES = 1_000_000

EncodeTexts = Callable[[Sequence[str]], Tensor]
"""Texts -> (T, D) float32, as the text tower gives them."""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """A list of prompts.

    Attributes:
        name: Of its file.
        templates: Each with one `{}`.
        groups: Group -> entries.
    """

    name: str
    templates: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]

    @property
    def identity(self) -> str:
        """Name, and a hash that changes with any word."""
        words = [self.templates, sorted((g, e) for g, e in self.groups.items())]
        return f"{self.name}:{hashlib.sha256(repr(words).encode()).hexdigest()[:16]}"


def read_prompt_set(what: str = DEFAULT_SET) -> PromptSet:
    """Return the prompts of `config/prompts/<what>.yaml`, or of the YAML file `what`.

    Raises:
        TrainingError: No such list, or a malformed one.
    """
    named = shipped_files("config/prompts")
    path = named.get(what, Path(what))
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise TrainingError(f"{path.name!r} is over {_MAX_BYTES} bytes: no list of prompts")
        data = from_yaml(path.read_bytes())
        templates = tuple(map(_template, data["templates"]))
        groups = {_text(g): tuple(map(_text, entries)) for g, entries in data["groups"].items()}
    except OSError as error:
        raise TrainingError(
            f"expected a list of prompts of {sorted(named)!r} or a file, got {what!r}"
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise TrainingError(f"{path.name!r} is no list of prompts: {reason}") from error
    if not templates or not any(groups.values()):
        raise TrainingError(f"{path.name!r}: expected templates and prompts, got none")
    return PromptSet(path.stem, templates, groups)


def embed_prompts(prompts: PromptSet, encode: EncodeTexts, *, encoder: str) -> PromptEmbeddings:
    """Return each prompt's place: the mean over the templates' unit vectors, of length 1.

    Args:
        prompts: The list.
        encode: The text tower.
        encoder: Identity of the image encoder it belongs to.

    Source: CLIP's prompt ensembles (Radford et al., 2021).
    """
    pairs = [(group, entry) for group, entries in prompts.groups.items() for entry in entries]
    mean: Any = 0
    with torch.inference_mode():
        for template in prompts.templates:
            features = encode([template.replace("{}", entry) for _, entry in pairs]).to(
                torch.float32
            )
            mean = mean + torch.nn.functional.normalize(features, dim=-1)
        unit = torch.nn.functional.normalize(mean, dim=-1)
    return PromptEmbeddings(
        encoder=encoder,
        prompt_set=prompts.identity,
        groups=tuple(group for group, _ in pairs),
        prompts=tuple(entry for _, entry in pairs),
        embeddings=unit.cpu().numpy(),
    )


def _template(value: object) -> str:
    text = _text(value)
    if text.count("{}") != 1:
        raise ValueError(f"expected a template with one {{}}, got {text!r}")
    return text


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected text, got {value!r}")
    return value.strip()
