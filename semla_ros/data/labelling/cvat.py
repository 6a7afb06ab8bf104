"""CVAT's "Segmentation mask 1.1": a zip of coloured masks, in the layout of Pascal VOC.

    labelmap.txt                   label:R,G,B:parts:actions, a line each
    ImageSets/Segmentation/default.txt   names of the images
    SegmentationClass/<name>.png   RGB, the colour of each pixel's label
    SegmentationObject/<name>.png  RGB, a colour for each object; here one for each class

Source: docs.cvat.ai, "Segmentation mask"; (0, 0, 0) is its background, here "no class".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from semla_ros.core.errors import CaptureError, FrameError
from semla_ros.core.files.compressed_image import decode_file
from semla_ros.core.files.image_file import DEFAULT_MAX_PIXELS
from semla_ros.core.files.image_headers import PNG_SIGNATURE
from semla_ros.core.files.label_image import decode_labels
from semla_ros.core.files.png import png_content
from semla_ros.core.types import LabelArray, UInt8Array
from semla_ros.data.labelling.archive import Archive
from semla_ros.data.labelling.plain import index_of

LABEL_MAP, BACKGROUND = "labelmap.txt", "background"
_SUBSET = "ImageSets/Segmentation/default.txt"
_CLASS, _OBJECT = "SegmentationClass", "SegmentationObject"
_MAX_TEXT_BYTES = 4_000_000
_COLOUR_TYPE_AT = 25
Rgb = tuple[int, int, int]


def voc_colors(count: int) -> UInt8Array:
    """Return the colours (count, 3) of Pascal VOC; the first is black.

    Source: VOC devkit, `VOCcolormap`.
    """
    ids = np.arange(count)
    colors = np.zeros((count, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= (((ids >> channel) & 1) << (7 - bit)).astype(np.uint8)
        ids = ids >> 3
    return colors


def cvat_files(
    classes: tuple[str, ...], masks: Iterable[tuple[str, LabelArray]]
) -> Iterator[tuple[str, bytes]]:
    """Yield name -> content of the files of the zip.

    Args:
        classes: Their names.
        masks: Name of an image -> (H, W) ids; what is no class becomes background.

    Raises:
        CaptureError: A name that `labelmap.txt` cannot hold.
    """
    odd = [name for name in classes if ":" in name or name.startswith("#") or name == BACKGROUND]
    if odd:
        raise CaptureError(
            f"CVAT's labelmap.txt cannot hold the class {odd[0]!r}: rename it, or export for "
            "Label Studio or COCO"
        )
    colors = voc_colors(len(classes) + 1)
    rows = zip((BACKGROUND, *classes), colors.tolist(), strict=True)
    lines = ["# label:color_rgb:parts:actions", *(f"{n}:{r},{g},{b}::" for n, (r, g, b) in rows)]
    yield LABEL_MAP, ("\n".join(lines) + "\n").encode()
    names = []
    for name, mask in masks:
        names.append(name)
        shifted = np.where(mask < len(classes), mask.astype(np.int64) + 1, 0)
        seen, objects = np.unique(shifted, return_inverse=True)
        first = int(seen[0] != 0)
        yield f"{_CLASS}/{name}.png", png_content(colors[shifted])
        palette = voc_colors(len(seen) + first)
        yield f"{_OBJECT}/{name}.png", png_content(palette[objects.reshape(mask.shape) + first])
    yield _SUBSET, "".join(f"{name}\n" for name in names).encode()


def cvat_masks(
    archive: Archive, classes: tuple[str, ...], *, unlabeled: int
) -> Iterator[tuple[str, LabelArray]]:
    """Yield name of image -> (H, W) uint16 ids of the masks in CVAT's zip.

    Args:
        archive: The zip.
        classes: What the ids count.
        unlabeled: Id of background.

    Raises:
        CaptureError: It is no such zip, or has a label or colour that means nothing here.
    """
    label_map = archive.named(LABEL_MAP)
    if label_map is None:
        raise CaptureError(
            f"{str(archive.path)!r}: expected {LABEL_MAP}, found none: export from CVAT as "
            "'Segmentation mask 1.1'"
        )
    labels = _label_map(archive.read(label_map, max_bytes=_MAX_TEXT_BYTES), archive)
    files = archive.below(_CLASS, ".png")
    if not files:
        raise CaptureError(f"{str(archive.path)!r}: expected masks in {_CLASS}/, found none")
    for name, member in files.items():
        content = archive.read(member)
        try:
            yield name, _ids(content, labels, classes, unlabeled=unlabeled)
        except (FrameError, ValueError) as error:
            raise CaptureError(f"{str(archive.path)!r}: {member!r}: {error}") from error


def _label_map(content: bytes, archive: Archive) -> dict[str, Rgb]:
    """Return label -> colour, in the order of the file.

    Raises:
        CaptureError: It is no label map, or two of its labels cannot be told apart.
    """
    where = f"{str(archive.path)!r}: {LABEL_MAP}"
    found: dict[str, Rgb] = {}
    for line in content.decode("utf-8", "replace").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        numbers = rest.partition(":")[0].split(",")
        if len(numbers) != 3 or not all(map(_is_byte, numbers)):
            raise CaptureError(f"{where}: expected label:R,G,B::, got {line[:80]!r}")
        if name in found:
            raise CaptureError(
                f"{where}: label {name!r} appears twice: rename one of them in CVAT and export "
                "again"
            )
        red, green, blue = map(int, numbers)
        found[name] = (red, green, blue)
    _require_distinct(found, where)
    return found


def _require_distinct(labels: Mapping[str, Rgb], where: str) -> None:
    """Raise where two labels share a colour; black is background's where that has none."""
    of: dict[Rgb, str] = {}
    for name, color in {BACKGROUND: (0, 0, 0), **labels}.items():
        if of.setdefault(color, name) != name:
            raise CaptureError(
                f"{where}: labels {of[color]!r} and {name!r} share colour {color}: give them "
                "different colours in CVAT and export again"
            )


def _is_byte(number: str) -> bool:
    digits = number.strip()
    return digits.isdecimal() and len(digits) < 4 and int(digits) < 256


def _ids(
    content: bytes, labels: Mapping[str, Rgb], classes: tuple[str, ...], *, unlabeled: int
) -> LabelArray:
    """Return ids of a mask whose pixels are colours, or places in the label map where it is gray.

    Raises:
        ValueError: A colour of no label, or a label of no class.
        FrameError: No PNG, damaged or too large.
    """
    gray = content[:8] == PNG_SIGNATURE and content[_COLOUR_TYPE_AT : _COLOUR_TYPE_AT + 1] == b"\0"
    if gray:
        codes = decode_labels(content, max_pixels=DEFAULT_MAX_PIXELS).astype(np.int64)
        names = dict(enumerate(labels))
    else:
        rgb = decode_file(content, ".png", max_pixels=DEFAULT_MAX_PIXELS).astype(np.int64)
        codes = (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]
        names = {(r << 16) | (g << 8) | b: n for n, (r, g, b) in labels.items()}
    seen, places = np.unique(codes, return_inverse=True)
    ids = []
    for code in seen.tolist():
        name = names.get(code, BACKGROUND if code == 0 and not gray else None)
        if name is None:
            shown = code if gray else f"colour ({code >> 16}, {code >> 8 & 255}, {code & 255})"
            raise ValueError(f"{shown} is none of {LABEL_MAP}")
        ids.append(unlabeled if name == BACKGROUND else index_of(name, classes))
    return np.asarray(ids, np.uint16)[places.reshape(codes.shape)]
