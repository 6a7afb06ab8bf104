"""What is played: frames of the demo world in one steady weather, a folder, or a recording."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from semla_ros.core.errors import EvaluationError, FrameError
from semla_ros.core.files.image_file import DEFAULT_MAX_PIXELS, read_image
from semla_ros.core.types import Frame, UInt8Array
from semla_ros.data.bags.messages import COMPRESSED_IMAGE, IMAGE, image_fields, jpeg_fields
from semla_ros.data.bags.reader import read_frames
from semla_ros.data.bags.writer import BagWriter
from semla_ros.demo.world import Drive

SIZE = (480, 640)
COUNT = 12
WEATHER = "rain-night"
CAMERA = "/camera/image_raw"
_SEED = 2026
_FPS = 2.0
_MOST = 200
_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class Film:
    """Frames to be played over and over.

    Attributes:
        frames: (H, W, 3) uint8 RGB each.
        source: In words.
        sha256: Of all pixels, so that two runs can be told to have played the same.
    """

    frames: tuple[UInt8Array, ...]
    source: str
    sha256: str


def film(source: Path | None = None) -> Film:
    """Return what to play: `source` (a folder of images, or a recording), or the demo world.

    Raises:
        SemlaError: `source` holds no image that can be read.
    """
    if source is None:
        frames = _rendered()
        text = f"{COUNT} frames of the demo world, {WEATHER}, {SIZE[1]}x{SIZE[0]}"
    elif source.is_dir() and any(p.suffix.lower() in _SUFFIXES for p in source.iterdir()):
        frames = _folder(source)
        text = f"{len(frames)} images of the folder {source.name}"
    else:
        frames = [
            each.rgb for each in islice(read_frames(source), _MOST) if isinstance(each, Frame)
        ]
        text = f"the first {len(frames)} frames of the recording {source.name}"
    if not frames:
        raise EvaluationError(f"expected images in {str(source)!r}, found none")
    digest = hashlib.sha256()
    for rgb in frames:
        digest.update(rgb.tobytes())
    return Film(tuple(frames), text, digest.hexdigest())


def write_camera(frames: Sequence[UInt8Array], path: Path, *, compressed: bool) -> None:
    """Write `frames` as a camera recording, raw or as JPEG of quality 90."""
    with BagWriter(path) as bag:
        for number, rgb in enumerate(frames):
            stamp = number + 1
            if compressed:
                fields = jpeg_fields(rgb, stamp_ns=stamp, frame_id="camera", quality=90)
                bag.write(f"{CAMERA}/compressed", COMPRESSED_IMAGE, fields, stamp)
            else:
                fields = image_fields(rgb, stamp_ns=stamp, frame_id="camera")
                bag.write(CAMERA, IMAGE, fields, stamp)


def _rendered() -> list[UInt8Array]:
    drive = Drive(_SEED, fps=_FPS, segments=((WEATHER, COUNT / _FPS),), size=SIZE)
    numbers = tqdm(range(COUNT), desc="render frames", mininterval=2.0, leave=False)
    return [drive.frame(i).image.rgb for i in numbers]


def _folder(folder: Path) -> list[UInt8Array]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)[:_MOST]
    return [_image(path) for path in tqdm(paths, desc="read images", mininterval=2.0)]


def _image(path: Path) -> UInt8Array:
    try:
        return read_image(path, max_pixels=DEFAULT_MAX_PIXELS)
    except FrameError as error:
        raise EvaluationError(str(error)) from error
