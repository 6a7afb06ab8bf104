"""Captions of a domain's images by BLIP-2, where transformers and its weights are at hand.

Source: SemLA, supplement B.2, which names its domains by BLIP-2 captions.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from semla_ros.core.errors import ConfigError, FrameError, LibraryError
from semla_ros.core.files.image_file import read_image
from semla_ros.core.types import UInt8Array
from semla_ros.prepare.curation.sources import MAX_PIXELS, list_images

DEFAULT_MODEL = "Salesforce/blip2-opt-2.7b"
SAMPLES = 8
_MAX_TOKENS = 40


class Captioner(Protocol):
    """Says in a sentence what an image shows.

    Attributes:
        name: The model.
    """

    name: str

    def caption(self, rgb: UInt8Array) -> str:
        """Return a sentence for `rgb` (H, W, 3)."""
        ...


class Blip2:
    """BLIP-2 through transformers."""

    def __init__(self, model: str = DEFAULT_MODEL) -> None:
        """Load the model.

        Args:
            model: Name on the hub, or a folder.

        Raises:
            ConfigError: transformers is not installed.
            LibraryError: The weights cannot be had.
        """
        try:
            from semla_ros.prepare.bundler.clip import mend_torchvision

            mend_torchvision()
            transformers: Any = importlib.import_module("transformers")
        except ImportError as error:
            raise ConfigError(
                f"captions need {error.name!r}: pip install '.[captions]'"
            ) from error
        try:
            self._processor: Any = transformers.AutoProcessor.from_pretrained(model)
            self._model: Any = transformers.Blip2ForConditionalGeneration.from_pretrained(model)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            reason = " ".join(str(error).split())[:200]
            raise LibraryError(
                f"captioning model {model!r} cannot be loaded ({reason}): give a folder that "
                "holds it with --captions-model"
            ) from error
        self.name = model

    def caption(self, rgb: UInt8Array) -> str:
        """Return a sentence for `rgb` (H, W, 3).

        Raises:
            LibraryError: The model fails on it.
        """
        try:
            inputs = self._processor(images=rgb, return_tensors="pt")
            tokens = self._model.generate(**inputs, max_new_tokens=_MAX_TOKENS)
            texts = self._processor.batch_decode(tokens, skip_special_tokens=True)
        except (RuntimeError, ValueError, TypeError) as error:
            raise LibraryError(f"captioning model {self.name!r} failed: {error}") from error
        return str(texts[0]).strip()


def sample_images(folder: Path, *, count: int = SAMPLES) -> Iterator[tuple[Path, UInt8Array]]:
    """Yield at most `count` readable images of `folder`, evenly spaced.

    Raises:
        LibraryError: None is readable.
    """
    if not folder.is_dir():
        raise LibraryError(f"expected a folder of images, found none at {str(folder)!r}")
    paths = list_images(folder)
    step = max(1, len(paths) // count)
    read = 0
    for path in paths[::step][:count]:
        try:
            rgb = read_image(path, max_pixels=MAX_PIXELS)
        except FrameError:
            continue
        read += 1
        yield path, rgb
    if not read:
        raise LibraryError(f"expected readable *.png or *.jpg in {str(folder)!r}, found none")
