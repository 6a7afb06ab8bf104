"""A set goes out to a labelling tool, and what the tool gives back becomes its labels."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from semla_ros.core.errors import CaptureError
from semla_ros.core.files.whole_file import write_file
from semla_ros.core.types import LabelArray
from semla_ros.data.captures.record import read_bounded
from semla_ros.data.labelling.archive import Archive, zip_content
from semla_ros.data.labelling.coco import coco_content, coco_masks
from semla_ros.data.labelling.cvat import cvat_files, cvat_masks
from semla_ros.data.labelling.label_set import LABELS, LabelImage, LabelSet
from semla_ros.data.labelling.label_studio import (
    label_config,
    label_studio_masks,
    label_studio_tasks,
)

FORMATS = ("cvat", "label-studio", "coco")
LOCAL_FILES = "/data/local-files/?d="
_MAX_JSON_BYTES = 2_000_000_000
_UPLOADED, _UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-"), 9
"""What Label Studio puts before the name of a file that was uploaded to it."""


def export_set(found: LabelSet, kind: str, out: Path, *, images: str = LOCAL_FILES) -> list[Path]:
    """Write a set's masks for a tool; return the files.

    What was labelled already goes out as it is, else the proposal, else nothing but the image.

    Args:
        found: The set.
        kind: One of `FORMATS`.
        out: The file to write.
        images: For Label Studio: what comes before `<name>.png` in the address of an image.

    Raises:
        CaptureError: An unknown tool, a class name the format cannot hold, a damaged mask, or the
            file cannot be written.
    """
    classes = found.vocabulary.names
    masks = ((image.name, _mask(found, image)) for image in found.images)
    files = []
    if kind == "cvat":
        content = zip_content(cvat_files(classes, masks))
    elif kind == "label-studio":
        content = label_studio_tasks(classes, masks, images=images)
        config = out.with_suffix(".xml")
        files = [write_file(config, label_config(found.vocabulary), error=CaptureError)]
    elif kind == "coco":
        content = coco_content(classes, masks)
    else:
        raise CaptureError(f"expected a format of {list(FORMATS)!r}, got {kind!r}")
    return [write_file(out, content, error=CaptureError), *files]


def import_labels(found: LabelSet, path: Path) -> list[Path]:
    """Write what a tool gave back as the set's labels; all of it fits, or nothing is written.

    Args:
        found: The set.
        path: A zip of CVAT ("Segmentation mask 1.1"), or JSON of Label Studio or COCO.

    Raises:
        CaptureError: It is none of these, damaged, or has labels of images that are not in the
            set, of another size, or of unknown classes.
    """
    images = {image.name: image for image in found.images}
    names: set[str] = set()
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=found.root) as folder:
        aside = Path(folder)
        for given, mask in _masks(found, path):
            known = given in images or not _UPLOADED.match(given)
            name = given if known else given[_UPLOAD_PREFIX:]
            if name not in images:
                raise CaptureError(
                    f"{str(path)!r} has labels of {name!r}, which is not in {str(found.root)!r}: "
                    "import them into the set they were exported from"
                )
            if name in names:
                raise CaptureError(f"{str(path)!r} has {name!r} twice: keep one of them")
            names.add(name)
            replace(found, root=aside).write_label(images[name], mask)
        if not names:
            raise CaptureError(f"{str(path)!r} holds no labels: annotate, and export again")
        (found.root / LABELS).mkdir(exist_ok=True)
        made = sorted((aside / LABELS).iterdir())
        return [each.replace(found.root / LABELS / each.name) for each in made]


def _mask(found: LabelSet, image: LabelImage) -> LabelArray:
    mask = found.label(image)
    mask = found.proposal(image) if mask is None else mask
    if mask is None:
        return np.full((image.height, image.width), found.unlabeled, np.uint16)
    return mask


def _masks(found: LabelSet, path: Path) -> Iterator[tuple[str, LabelArray]]:
    """Yield name -> ids of the labels in `path`, whatever it is."""
    classes, unlabeled = found.vocabulary.names, found.unlabeled
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise CaptureError(f"cannot read {str(path)!r}: {error.strerror}") from error
    if head[:2] == b"PK":
        with Archive(path) as archive:
            yield from cvat_masks(archive, classes, unlabeled=unlabeled)
        return
    content = read_bounded(path, max_bytes=_MAX_JSON_BYTES)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"[":
        yield from label_studio_masks(content, classes, unlabeled=unlabeled)
    elif start == b"{":
        yield from coco_masks(content, classes, unlabeled=unlabeled)
    else:
        raise CaptureError(
            f"expected a zip of CVAT or JSON of Label Studio or COCO, got {str(path)!r}"
        )
