"""Prompts in the navigator's own space: what lets a centroid be named in words.

A bundle whose navigator has a text tower carries `navigator_prompts.npz`, made when the bundle
was made, so that naming needs neither torch nor that tower.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import BundleError
from semla_ros.core.files.lfs_pointer import lfs_remedy_of
from semla_ros.core.files.npz_file import npz_content, read_arrays
from semla_ros.core.files.whole_file import write_file
from semla_ros.core.types import Float32Array

_KEYS = ("encoder", "prompt_set", "groups", "prompts", "embeddings")
_MAX_BYTES = 256_000_000


@dataclass(frozen=True, slots=True)
class PromptEmbeddings:
    """Prompts with their places in the space of an image encoder.

    Attributes:
        encoder: Identity of the image encoder that the text tower belongs to.
        prompt_set: Name and hash of the list of prompts.
        groups: What each prompt is about: place, weather, light, scene, ...
        prompts: The words.
        embeddings: (P, D) float32, of length 1.
    """

    encoder: str
    prompt_set: str
    groups: tuple[str, ...]
    prompts: tuple[str, ...]
    embeddings: Float32Array

    def __post_init__(self) -> None:
        table, count = self.embeddings, len(self.prompts)
        if count == 0 or len(self.groups) != count or table.ndim != 2 or len(table) != count:
            raise BundleError(
                f"expected as many prompts as groups and embeddings, at least one, got {count}, "
                f"{len(self.groups)} and {table.shape}"
            )
        lengths = np.linalg.norm(table, axis=1)
        if not np.allclose(lengths, 1.0, atol=1e-3):
            raise BundleError("expected prompt embeddings of length 1: make the bundle again")


def write_prompts(path: Path, prompts: PromptEmbeddings) -> None:
    """Write `prompts` in one step; equal ones give equal bytes.

    Raises:
        BundleError: The file cannot be written.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "encoder": np.asarray(prompts.encoder),
        "prompt_set": np.asarray(prompts.prompt_set),
        "groups": np.asarray(prompts.groups),
        "prompts": np.asarray(prompts.prompts),
        "embeddings": prompts.embeddings.astype(np.float32),
    }
    write_file(path, npz_content(arrays), error=BundleError)


def read_prompts(path: Path) -> PromptEmbeddings:
    """Return the prompts in a bundle's file.

    Raises:
        BundleError: Missing, damaged, too large, or not what it should be.
    """
    try:
        if remedy := lfs_remedy_of(path):
            raise BundleError(f"{path.name}: {remedy}")
        arrays = read_arrays(path, _KEYS, max_bytes=_MAX_BYTES)
        (encoder,), (prompt_set,) = _texts(arrays["encoder"]), _texts(arrays["prompt_set"])
        return PromptEmbeddings(
            encoder=encoder,
            prompt_set=prompt_set,
            groups=_texts(arrays["groups"]),
            prompts=_texts(arrays["prompts"]),
            embeddings=arrays["embeddings"].astype(np.float32),
        )
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path.name}: damaged ({error}): restore the bundle") from error


def _texts(array: npt.NDArray[np.generic]) -> tuple[str, ...]:
    if array.dtype.kind != "U":
        raise ValueError(f"expected texts, got {array.dtype}")
    return tuple(map(str, array.reshape(-1)))
