"""COCO's instances JSON: a run-length mask for each class of an image.

Source: cocodataset.org, "Data format", and pycocotools: run lengths go down the columns, begin
with what is outside, and are numbers, or text of 6 bits a character.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from semla_ros.core.errors import CaptureError
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.types import LabelArray
from semla_ros.data.labelling.plain import blank, image_name, index_of, member

_MAX_SIDE = 65_535
BoolArray = npt.NDArray[np.bool_]


def coco_content(classes: tuple[str, ...], masks: Iterable[tuple[str, LabelArray]]) -> bytes:
    """Return the JSON; ids of categories and images count from 1.

    Args:
        classes: Their names.
        masks: Name of an image -> (H, W) ids; what is no class has no annotation.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, mask) in enumerate(masks, start=1):
        height, width = mask.shape
        images.append({"id": number, "file_name": f"{name}.png", "height": height, "width": width})
        for index in np.unique(mask).tolist():
            if index < len(classes):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": index + 1,
                        **_region(mask == index),
                    }
                )
    categories = [{"id": i, "name": n, "supercategory": ""} for i, n in enumerate(classes, 1)]
    value = {"images": images, "annotations": annotations, "categories": categories}
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


def coco_masks(
    content: bytes, classes: tuple[str, ...], *, unlabeled: int
) -> Iterator[tuple[str, LabelArray]]:
    """Yield name of image -> (H, W) uint16 ids of the annotations; later ones lie on top.

    Images without any annotation are passed over. Polygons are filled as OpenCV fills them.

    Raises:
        CaptureError: It is no such JSON, or a category that is used is none of the classes.
    """
    try:
        value = from_json(content)
        categories = {c["id"]: c["name"] for c in member(value, "categories", list)}
        by_image: dict[Any, list[Any]] = {}
        for each in member(value, "annotations", list):
            by_image.setdefault(each["image_id"], []).append(each)
        for image in member(value, "images", list):
            found = by_image.get(image["id"])
            if found:
                mask = blank(image, "height", "width", unlabeled=unlabeled)
                for each in found:
                    inside = _filled(each["segmentation"], mask.shape)
                    mask[inside] = index_of(categories[each["category_id"]], classes)
                yield image_name(member(image, "file_name", str)), mask
    except KeyError as error:
        raise CaptureError(f"COCO's JSON: expected {error}, found none") from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise CaptureError(f"COCO's JSON: {error}") from error


def _region(mask: BoolArray) -> dict[str, Any]:
    """Return segmentation, area and box of (H, W) True inside."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    left, top = int(columns[0]), int(rows[0])
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    ends = np.concatenate([edges, [flat.size]])
    counts = np.diff(np.concatenate([[0], ends])).tolist()
    return {
        "segmentation": {"counts": [0, *counts] if flat[0] else counts, "size": list(mask.shape)},
        "area": int(mask.sum()),
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "iscrowd": 1,
    }


def _filled(segmentation: Any, size: tuple[int, ...]) -> BoolArray:  # noqa: ANN401  JSON
    """Return (H, W) True inside a segmentation of any of the three kinds."""
    if isinstance(segmentation, list):
        return _polygons(segmentation, size)
    counts = segmentation["counts"]
    if tuple(segmentation["size"]) != size:
        raise ValueError(f"expected run lengths of {size}, got {segmentation['size']!r}")
    lengths = np.asarray(_packed(counts) if isinstance(counts, str) else counts, np.int64)
    total = size[0] * size[1]
    outside = (lengths < 0) | (lengths > total)  # whose sum might wrap around
    if lengths.ndim != 1 or outside.any() or lengths.sum() != total:
        raise ValueError(f"expected run lengths of {total} pixels in all")
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return inside.reshape(size, order="F")


def _packed(text: str) -> list[int]:
    """Return the numbers of pycocotools' text: each but the first two relative to the one before.

    Raises:
        ValueError: It is cut, or holds other characters.
    """
    counts: list[int] = []
    number, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError(f"expected run lengths as COCO packs them, got {character!r}")
        number |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            if code & 0x10:
                number -= 1 << shift
            counts.append(number + counts[-2] if len(counts) > 2 else number)
            number, shift = 0, 0
    if shift:
        raise ValueError("run lengths are cut")
    return counts


def _polygons(polygons: list[Any], size: tuple[int, ...]) -> BoolArray:
    canvas = np.zeros(size, np.uint8)
    for each in polygons:
        points = np.asarray(each, np.float64).reshape(-1, 2)
        if not np.isfinite(points).all() or len(points) < 3:
            raise ValueError("expected polygons of at least three points")
        inside = np.clip(points, -1.0, float(_MAX_SIDE))
        cv2.fillPoly(canvas, [np.round(inside).astype(np.int32)], 1)
    return np.asarray(canvas > 0)
