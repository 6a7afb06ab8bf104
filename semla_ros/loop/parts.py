"""Which images of a labelled set an adapter learns from, and which it is judged by."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from semla_ros.core.errors import CaptureError
from semla_ros.data.labelling.label_set import LabelImage, LabelSet
from semla_ros.loop.proof import LEAST_FRAMES

_HELD_OUT = 0.25
_GAP = 40
"""1 / 40 of a drive's labelled images, between both parts, is in neither."""
_NAME = re.compile(r"(?:(?P<robot>.*)-)?(?P<stamp>\d{19})(?:-\d+)?")
"""As `semla gaps` names images; the last number tells those of one robot and stamp apart."""


@dataclass(frozen=True, slots=True)
class _Shot:
    image: LabelImage
    robot: str
    stamp_ns: int
    labelled: bool


def parts_of(made: LabelSet) -> tuple[list[LabelImage], list[LabelImage]]:
    """Return the images to learn from, and those to be judged by, which are labelled.

    Of every drive the last quarter is held out, after a gap: neighbours in time resemble each
    other. What several robots or recordings saw at one time is one drive, and of copies of an
    image one counts. What comes before the gap counts for the domain's statistics, labelled or
    not.

    Raises:
        CaptureError: Too few are labelled.
    """
    learn: list[LabelImage] = []
    judged: list[LabelImage] = []
    for drive in _drives(_shots(made)):
        labelled = [shot for shot in drive if shot.labelled]
        last = round(len(labelled) * _HELD_OUT)
        cut = len(labelled) - last
        gap = max(1, len(labelled) // _GAP)
        until = labelled[cut - gap].stamp_ns if last else drive[-1].stamp_ns + 1
        learn += [shot.image for shot in drive if shot.stamp_ns < until]
        judged += [shot.image for shot in labelled[cut:]]
    if len(judged) < LEAST_FRAMES:
        raise CaptureError(
            f"expected at least {LEAST_FRAMES} labelled images in the last quarter of the drives "
            f"in {str(made.root)!r}, got {len(judged)}: label {4 * LEAST_FRAMES} images or more "
            "(semla labels import)"
        )
    return learn, judged


def _shots(made: LabelSet) -> Iterable[_Shot]:
    """Return every image once, with a label where one of its copies has one."""
    found: dict[str, _Shot] = {}
    for place, image in enumerate(made.images):
        name = _NAME.fullmatch(image.name)
        robot, stamp_ns = (name["robot"] or "", int(name["stamp"])) if name else ("", place)
        shot = _Shot(image, robot, stamp_ns, made.label(image) is not None)
        before = found.get(image.sha256)
        if before is None or (shot.labelled and not before.labelled):
            found[image.sha256] = shot
    return found.values()


def _drives(shots: Iterable[_Shot]) -> list[list[_Shot]]:
    """Return the images of robots whose times overlap together, each drive in order of time."""
    robots: dict[str, list[_Shot]] = {}
    for shot in sorted(shots, key=_when):
        robots.setdefault(shot.robot, []).append(shot)
    drives: list[list[_Shot]] = []
    for own in robots.values():  # in the order of their first images
        if drives and own[0].stamp_ns <= drives[-1][-1].stamp_ns:
            drives[-1] = sorted((*drives[-1], *own), key=_when)
        else:
            drives.append(own)
    return drives


def _when(shot: _Shot) -> tuple[int, str]:
    return shot.stamp_ns, shot.image.name
