"""Label images of the truth: `semla_ros.label_image`, what is wrong with them as our errors."""

from __future__ import annotations

from pathlib import Path

from semla_ros.errors import EvaluationError, FrameError
from semla_ros.label_image import RawLabels, decode_labels, read_labels

__all__ = ["RawLabels", "decode_label_png", "read_label_image"]


def read_label_image(path: Path, *, max_pixels: int) -> RawLabels:
    """Return the label image in the PNG `path`, see `read_labels`.

    Raises:
        EvaluationError: Missing, not a PNG, damaged or too large; the file is named.
    """
    try:
        return read_labels(path, max_pixels=max_pixels)
    except FrameError as error:
        raise EvaluationError(str(error)) from error


def decode_label_png(data: bytes, *, max_pixels: int) -> RawLabels:
    """Return the ids or colours of a PNG, see `decode_labels`.

    Raises:
        EvaluationError: Not a PNG, damaged, or larger than `max_pixels`.
    """
    try:
        return decode_labels(data, max_pixels=max_pixels)
    except FrameError as error:
        raise EvaluationError(str(error)) from error
