"""Label Studio's JSON: tasks with brush masks, as predictions going out and annotations coming in.

Source: labelstud.io, "Import pre-annotated data" and "Export", `brushlabels` in `rle`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from semla_ros.core.errors import CaptureError
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.types import LabelArray, Vocabulary
from semla_ros.data.labelling.brush_rle import brush_rle, mask_of_rle
from semla_ros.data.labelling.plain import blank, image_name, index_of, member

_FROM, _TO = "tag", "image"


def label_config(vocabulary: Vocabulary) -> bytes:
    """Return the labelling interface that tasks of these classes need."""
    labels = "".join(
        f'    <Label value={quoteattr(name)} background="#{r:02x}{g:02x}{b:02x}"/>\n'
        for name, (r, g, b) in zip(vocabulary.names, vocabulary.colors.tolist(), strict=True)
    )
    return (
        f'<View>\n  <Image name="{_TO}" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="{_FROM}" toName="{_TO}">\n{labels}  </BrushLabels>\n</View>\n'
    ).encode()


def label_studio_tasks(
    classes: tuple[str, ...], masks: Iterable[tuple[str, LabelArray]], *, images: str
) -> bytes:
    """Return the JSON of tasks to import, each with its mask as a prediction.

    Args:
        classes: Their names.
        masks: Name of an image -> (H, W) ids; what is no class is left blank.
        images: What comes before `<name>.png` in the address of an image.
    """
    tasks = [
        {
            "data": {"image": f"{images}{name}.png"},
            "predictions": [{"model_version": "semla", "result": _regions(name, mask, classes)}],
        }
        for name, mask in masks
    ]
    return (json.dumps(tasks, ensure_ascii=False) + "\n").encode()


def label_studio_masks(
    content: bytes, classes: tuple[str, ...], *, unlabeled: int
) -> Iterator[tuple[str, LabelArray]]:
    """Yield name of image -> (H, W) uint16 ids of the annotations in an export.

    Of several annotations of a task the one that was updated last counts; where regions overlap
    the later one lies on top. Tasks without annotation are passed over.

    Raises:
        CaptureError: It is no such export, or a label is none of the classes.
    """
    try:
        tasks = {"tasks": from_json(content)}
        for place, task in enumerate(member(tasks, "tasks", list)):
            name = image_name(member(member(task, "data", dict), "image", str))
            results = _annotation(task)
            if results is not None:
                try:
                    yield name, _mask(results, classes, unlabeled=unlabeled)
                except ValueError as error:
                    raise ValueError(f"task {place + 1} ({name!r}): {error}") from error
    except ValueError as error:
        raise CaptureError(
            f"Label Studio's export: {error}: export as JSON, from an interface with BrushLabels"
        ) from error


def _regions(name: str, mask: LabelArray, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    height, width = mask.shape
    return [
        {
            "id": f"{name}-{index}"[-60:],
            "type": "brushlabels",
            "from_name": _FROM,
            "to_name": _TO,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "format": "rle",
                "rle": brush_rle(mask == index),
                "brushlabels": [classes[index]],
            },
        }
        for index in np.unique(mask).tolist()
        if index < len(classes)
    ]


def _annotation(task: Any) -> list[Any] | None:  # noqa: ANN401  JSON
    """Return the regions of a task, None where nobody has annotated it."""
    given = [
        each
        for each in member({"annotations": [], **task}, "annotations", list)
        if isinstance(each, dict) and not each.get("was_cancelled")
    ]
    if not given:
        return None
    newest = max(given, key=lambda each: str(each.get("updated_at", "")))
    found: list[Any] = member(newest, "result", list)
    return found


def _mask(results: list[Any], classes: tuple[str, ...], *, unlabeled: int) -> LabelArray:
    mask: LabelArray | None = None
    for region in results:
        value = member(region, "value", dict)
        if value.get("format") != "rle":
            raise ValueError("expected brush regions (format rle), got another kind")
        size = blank(region, "original_height", "original_width", unlabeled=unlabeled)
        mask = size if mask is None else mask
        if mask.shape != size.shape:
            raise ValueError(f"regions of {mask.shape} and of {size.shape} pixels")
        labels = member(value, "brushlabels", list)
        if len(labels) != 1:
            raise ValueError(f"expected one label for each region, got {labels!r}")
        height, width = mask.shape
        brush = mask_of_rle(member(value, "rle", list), height=height, width=width)
        mask[brush] = index_of(labels[0], classes)
    if mask is None:
        raise ValueError("an annotation without any region: label it, or delete it")
    return mask
