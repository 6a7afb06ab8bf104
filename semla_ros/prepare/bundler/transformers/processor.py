"""What a checkpoint's image processor does to an image, read from its own file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.bundler.transformers.checkpoint import (
    PROCESSOR,
    import_transformers,
    quietly,
    read_json,
)
from semla_ros.prepare.bundler.transformers.heads import KINDS, Foreign, Pixels

MIN_SIDE, MAX_SIDE = 32, 4096


@dataclass(frozen=True, slots=True)
class ImageProcessor:
    """What matters of it.

    Attributes:
        pixels: Rescaling and normalisation.
        size: (H, W) that it resizes to, whatever the image; None where that depends on the image.
    """

    pixels: Pixels
    size: tuple[int, int] | None


def read_processor(folder: Path) -> ImageProcessor:
    """Return the image processor of the checkpoint in `folder`.

    Raises:
        TrainingError: Its file is missing or unusable.
    """
    where = f"{folder.name}/{PROCESSOR}"
    if not (folder / PROCESSOR).is_file():
        raise TrainingError(
            f"expected {where}, which says how images are resized and normalised, found none: "
            "download the whole checkpoint"
        )
    read_json(folder / PROCESSOR)
    transformers = import_transformers()
    try:
        with quietly():
            found = transformers.AutoImageProcessor.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        return ImageProcessor(_pixels(found), _size(found))
    except Exception as error:  # whatever the library raises for values it does not like
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(f"{where}: unusable image processor ({reason})") from error


def input_size(
    processor: ImageProcessor, network: Foreign, *, model_type: str, asked: tuple[int, int] | None
) -> tuple[int, int]:
    """Return (H, W) of the graph's image.

    Args:
        processor: Of the checkpoint.
        network: Says its own side where it takes no other.
        model_type: A key of `KINDS`.
        asked: What the user wants; None: the network's own.

    Raises:
        TrainingError: Not possible with this network, or nobody says.
    """
    if KINDS[model_type].square:
        side = int(network.config.image_size)
        if asked not in (None, (side, side)):
            raise TrainingError(
                f"expected --size {side}x{side}, the only one that this {model_type} takes, got "
                f"{asked[0]}x{asked[1]}"
            )
        return side, side
    size = asked or processor.size
    if size is None:
        raise TrainingError(
            "the checkpoint's image processor keeps each image's own proportions: give "
            "--size HEIGHTxWIDTH, such as 480x640, of the camera that it will see"
        )
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise TrainingError(
            f"expected an image of {MIN_SIDE} to {MAX_SIDE} pixels a side, got {size[0]}x{size[1]}"
        )
    return size


def _pixels(found: Foreign) -> Pixels:
    rescale = float(found.rescale_factor) if found.do_rescale else 1.0
    if not found.do_normalize:
        return Pixels(rescale=rescale)
    return Pixels(_three(found.image_mean), _three(found.image_std, above=0.0), rescale)


def _three(values: Iterable[float], above: float | None = None) -> tuple[float, ...]:
    """Return one number a channel.

    Raises:
        ValueError: They are not three finite numbers, `above` a bound.
    """
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or not all(abs(n) < 1e6 for n in numbers):
        raise ValueError(f"expected three numbers, one a channel, got {numbers!r}")
    if above is not None and not all(n > above for n in numbers):
        raise ValueError(f"expected image_std above {above:g}, got {numbers!r}")
    return numbers


def _size(found: Foreign) -> tuple[int, int] | None:
    if not found.do_resize:
        return None
    height, width = getattr(found.size, "height", None), getattr(found.size, "width", None)
    return (int(height), int(width)) if height and width else None
