"""A set goes out to a labelling tool, and what the tool gives back becomes its labels."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from semla_ros.core.errors import CaptureError
from semla_ros.core.files.whole_file import write_file
from semla_ros.core.types import LabelArray
from semla_ros.data.captures.record import read_bounded
from semla_ros.data.labelling import FORMATS, LOCAL_FILES
from semla_ros.data.labelling.archive import Archive, zip_content
from semla_ros.data.labelling.coco import coco_content, coco_masks
from semla_ros.data.labelling.cvat import cvat_files, cvat_masks
from semla_ros.data.labelling.label_set import LABELS, LabelImage, LabelSet
from semla_ros.data.labelling.label_studio import (
    label_config,
    label_studio_masks,
    label_studio_tasks,
)

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


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the masks that a tool gave back.

    Attributes:
        files: Labels that were written.
        blank: Images whose mask has no class anywhere; left out.
        unchanged: Images whose mask is the proposal that went out, which says nothing of whether
            anybody looked at it; left out.
    """

    files: tuple[Path, ...]
    blank: tuple[str, ...]
    unchanged: tuple[str, ...]

    def left_out(self) -> list[str]:
        """Return how many masks were left out, and why."""
        blank, unchanged = len(self.blank), len(self.unchanged)
        of = f"of {len(self.files) + blank + unchanged} masks:"
        told = [f"{blank} {of} no class anywhere"] if blank else []
        if unchanged:
            told.append(
                f"{unchanged} {of} the proposal, unchanged (--accept-proposals if somebody "
                "checked them)"
            )
        return told


def import_labels(found: LabelSet, path: Path, *, accept_proposals: bool = False) -> Imported:
    """Write what a tool gave back as the set's labels; all of it fits, or nothing is written.

    Args:
        found: The set.
        path: A zip of CVAT ("Segmentation mask 1.1"), or JSON of Label Studio or COCO.
        accept_proposals: Masks that are their proposal are labels, too. Those of Label Studio
            always are: there somebody submitted them.

    Raises:
        CaptureError: It is none of these, damaged, or has labels of images that are not in the
            set, of another size, or of unknown classes, or no labels.
    """
    images = {image.name: image for image in found.images}
    kind = _kind(path)
    accepted = accept_proposals or kind == "label-studio"
    names: set[str] = set()
    blank, unchanged = [], []
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=found.root) as folder:
        aside = replace(found, root=Path(folder))
        for given, mask in _masks(found, path, kind):
            image = _image_of(given, images, path, found.root)
            if image.name in names:
                raise CaptureError(f"{str(path)!r} has {image.name!r} twice: keep one of them")
            names.add(image.name)
            if found.is_blank(found.checked(image, mask)):
                blank.append(image.name)
            elif not accepted and _is_proposal(found, image, mask):
                unchanged.append(image.name)
            else:
                aside.write_label(image, mask)
        made = sorted((aside.root / LABELS).glob("*"))
        outcome = Imported((), tuple(blank), tuple(unchanged))
        if not made:
            why = "".join(f"; {text}" for text in outcome.left_out())
            raise CaptureError(f"{str(path)!r} holds no labels{why}: annotate, and export again")
        (found.root / LABELS).mkdir(exist_ok=True)
        files = tuple(each.replace(found.root / LABELS / each.name) for each in made)
        return replace(outcome, files=files)


def _image_of(given: str, images: Mapping[str, LabelImage], path: Path, root: Path) -> LabelImage:
    """Return the image of the set that a tool calls `given`.

    Raises:
        CaptureError: There is none.
    """
    known = given in images or not _UPLOADED.match(given)
    name = given if known else given[_UPLOAD_PREFIX:]
    if name not in images:
        raise CaptureError(
            f"{str(path)!r} has labels of {name!r}, which is not in {str(root)!r}: "
            "import them into the set they were exported from"
        )
    return images[name]


def _is_proposal(found: LabelSet, image: LabelImage, mask: LabelArray) -> bool:
    """Return whether a mask is what was proposed, and not what was a label before it went out."""
    proposal, label = found.proposal(image), found.label(image)
    return (
        proposal is not None
        and np.array_equal(mask, proposal)
        and (label is None or not np.array_equal(mask, label))
    )


def _mask(found: LabelSet, image: LabelImage) -> LabelArray:
    mask = found.label(image)
    mask = found.proposal(image) if mask is None else mask
    if mask is None:
        return np.full((image.height, image.width), found.unlabeled, np.uint16)
    return mask


def _kind(path: Path) -> str:
    """Return which of `FORMATS` a file looks like."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise CaptureError(f"cannot read {str(path)!r}: {error.strerror}") from error
    if head[:2] == b"PK":
        return "cvat"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start not in (b"[", b"{"):
        raise CaptureError(
            f"expected a zip of CVAT or JSON of Label Studio or COCO, got {str(path)!r}"
        )
    return "label-studio" if start == b"[" else "coco"


def _masks(found: LabelSet, path: Path, kind: str) -> Iterator[tuple[str, LabelArray]]:
    """Yield name -> ids of the labels in `path`."""
    classes, unlabeled = found.vocabulary.names, found.unlabeled
    if kind == "cvat":
        with Archive(path) as archive:
            yield from cvat_masks(archive, classes, unlabeled=unlabeled)
        return
    read = label_studio_masks if kind == "label-studio" else coco_masks
    content = read_bounded(path, max_bytes=_MAX_JSON_BYTES)
    yield from read(content, classes, unlabeled=unlabeled)
