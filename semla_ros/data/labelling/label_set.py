"""A set of images to be labelled: a folder that says what is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semla_ros.core.errors import CaptureError, FrameError
from semla_ros.core.files.checks import integer, items, table, text
from semla_ros.core.files.image_file import DEFAULT_MAX_PIXELS
from semla_ros.core.files.label_image import read_labels
from semla_ros.core.files.png import png_content
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.files.whole_file import write_file
from semla_ros.core.types import LabelArray, UInt8Array, Vocabulary
from semla_ros.core.viz.palette import colors_for
from semla_ros.data.captures.record import read_bounded, sha256_of

SET_FILE, IMAGES, PROPOSALS, LABELS = "set.json", "images", "proposals", "labels"
FORMAT = 1
_MAX_SET_BYTES, _MAX_IMAGES, _MAX_CLASSES, _MAX_SIDE = 100_000_000, 200_000, 65_534, 65_535
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,199}")


@dataclass(frozen=True, slots=True)
class LabelImage:
    """One image of a set.

    Attributes:
        name: Of its files, without ending.
        height, width: In pixels.
        sha256: Of its PNG.
    """

    name: str
    height: int
    width: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LabelSet:
    """A set of images to be labelled.

    Attributes:
        root: Its folder.
        vocabulary: The classes; the ids of masks count them from 0.
        images: In the order of their names.
    """

    root: Path
    vocabulary: Vocabulary
    images: tuple[LabelImage, ...]

    @property
    def unlabeled(self) -> int:
        """The id of pixels without a class."""
        return self.vocabulary.unlabeled_id

    def image_path(self, image: LabelImage) -> Path:
        """Return where an image lies."""
        return self.root / IMAGES / f"{image.name}.png"

    def proposal(self, image: LabelImage) -> LabelArray | None:
        """Return the mask to begin with, None where there is none.

        Raises:
            CaptureError: It is damaged, or of another size.
        """
        return self._mask(PROPOSALS, image)

    def label(self, image: LabelImage) -> LabelArray | None:
        """Return the mask that came back, None before that, and where it has no class at all.

        Raises:
            CaptureError: It is damaged, or of another size.
        """
        mask = self._mask(LABELS, image)
        return None if mask is None or self.is_blank(mask) else mask

    def is_blank(self, mask: LabelArray) -> bool:
        """Return whether no pixel of `mask` has a class: nobody labelled it."""
        return bool((mask == self.unlabeled).all())

    def write_label(self, image: LabelImage, mask: LabelArray) -> Path:
        """Write a mask that came back; return its file.

        Raises:
            CaptureError: It does not fit its image and the classes, or cannot be written.
        """
        path = self.root / LABELS / f"{image.name}.png"
        return write_file(path, png_content(self.checked(image, mask)), error=CaptureError)

    def checked(self, image: LabelImage, mask: LabelArray) -> LabelArray:
        """Return `mask` in the type of this set's ids.

        Raises:
            CaptureError: Another size than the image's, or an id of no class.
        """
        if mask.shape != (image.height, image.width):
            raise CaptureError(
                f"labels of {image.name!r}: expected {image.height} x {image.width} pixels (rows "
                f"x columns), got {mask.shape[0]} x {mask.shape[1]}: export at the image's size"
            )
        known = (mask < len(self.vocabulary.names)) | (mask == self.unlabeled)
        if not known.all():
            raise CaptureError(
                f"labels of {image.name!r}: expected ids below {len(self.vocabulary.names)} or "
                f"{self.unlabeled}, got {int(mask[~known][0])}"
            )
        return mask.astype(np.uint8 if self.unlabeled == 255 else np.uint16)

    def _mask(self, folder: str, image: LabelImage) -> LabelArray | None:
        path = self.root / folder / f"{image.name}.png"
        if not path.is_file():
            return None
        try:
            mask = read_labels(path, max_pixels=DEFAULT_MAX_PIXELS)
        except FrameError as error:
            raise CaptureError(str(error)) from error
        if mask.ndim != 2:
            raise CaptureError(f"{str(path)!r}: expected ids, got colours")
        return self.checked(image, mask)


@dataclass(frozen=True, slots=True)
class Labelling:
    """An image and what is proposed for it.

    Attributes:
        name: Of its files.
        rgb: (H, W, 3) uint8.
        proposal: (H, W) ids, None where nothing is proposed.
    """

    name: str
    rgb: UInt8Array
    proposal: LabelArray | None


def write_label_set(root: Path, classes: tuple[str, ...], items: Iterable[Labelling]) -> LabelSet:
    """Write a set into the new folder `root` and return it.

    Raises:
        CaptureError: The folder is there already, or cannot be written.
    """
    if root.exists():
        raise CaptureError(f"expected a new folder, got {str(root)!r}: remove it, or give another")
    vocabulary = Vocabulary(classes, colors_for(classes))
    made, images = LabelSet(root, vocabulary, ()), []
    for each in items:
        content = png_content(each.rgb)
        height, width = each.rgb.shape[:2]
        image = LabelImage(each.name, height, width, sha256_of(content))
        write_file(made.image_path(image), content, error=CaptureError)
        if each.proposal is not None:
            path = root / PROPOSALS / f"{each.name}.png"
            mask = png_content(made.checked(image, each.proposal))
            write_file(path, mask, error=CaptureError)
        images.append(image)
    images.sort(key=lambda image: image.name)
    value = {
        "format": FORMAT,
        "classes": list(classes),
        "images": [
            {"name": i.name, "height": i.height, "width": i.width, "sha256": i.sha256}
            for i in images
        ],
    }
    content = (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
    write_file(root / SET_FILE, content, error=CaptureError)
    return LabelSet(root, vocabulary, tuple(images))


def read_label_set(root: Path) -> LabelSet:
    """Return the set in `root`, its images still being those that were written.

    Raises:
        CaptureError: It is no set, damaged, or an image is gone or another one.
    """
    path = root / SET_FILE
    try:
        value = from_json(read_bounded(path, max_bytes=_MAX_SET_BYTES))
        _SET(value, "")
        classes = tuple(value["classes"])
        images = tuple(LabelImage(**each) for each in value["images"])
    except FileNotFoundError as error:
        raise CaptureError(
            f"expected a set of `semla gaps`, got {str(root)!r} without {SET_FILE}"
        ) from error
    except (OSError, ValueError) as error:
        raise CaptureError(f"{str(path)!r} is damaged ({error}): make the set again") from error
    found = LabelSet(root, Vocabulary(classes, colors_for(classes)), images)
    for image in images:
        _check_image(found, image)
    return found


def _check_image(found: LabelSet, image: LabelImage) -> None:
    path = found.image_path(image)
    try:
        same = sha256_of(read_bounded(path, max_bytes=_MAX_SET_BYTES)) == image.sha256
    except OSError as error:
        raise CaptureError(
            f"image {str(path)!r} of the set is gone ({error.strerror}): restore it, or make the "
            "set again; labels without their image are worth nothing"
        ) from error
    if not same:
        raise CaptureError(f"image {str(path)!r} is not the one of the set: restore it")


def _name(value: object, path: str) -> None:
    text(value, path)
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{path}: expected letters, digits, '_' and '-', got {value!r}")


_SET = table(
    {
        "format": integer(FORMAT, FORMAT),
        "classes": items(text, 1, _MAX_CLASSES),
        "images": items(
            table(
                {
                    "name": _name,
                    "height": integer(1, _MAX_SIDE),
                    "width": integer(1, _MAX_SIDE),
                    "sha256": text,
                }
            ),
            0,
            _MAX_IMAGES,
            distinct="name",
        ),
    }
)
