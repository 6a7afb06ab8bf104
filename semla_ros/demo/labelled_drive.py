"""A drive through changing weather with its truth, for `semla evaluate` to be tried on."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tqdm import tqdm

from semla_ros.core.errors import ConfigError, EvaluationError
from semla_ros.data.bags.messages import COMPRESSED_IMAGE, jpeg_fields, png_fields
from semla_ros.data.bags.writer import BagWriter
from semla_ros.demo.footage import FRAME_ID
from semla_ros.demo.world import DEMO_SEGMENTS, Drive

CAMERA, TRUTH = "/camera/image_raw/compressed", "/truth"
SEED: Final = 2027
"""Another street than the one of `semla demo`."""
THERE_AND_BACK: Final = tuple(name for name, _ in (*DEMO_SEGMENTS, *DEMO_SEGMENTS[-2::-1]))
_QUALITY = 95


@dataclass(frozen=True, slots=True)
class LabelledDrive:
    """What was written.

    Attributes:
        bag: Camera (JPEG) and truth (PNG of the demo's class ids) with equal stamps.
        domains: CSV table: the stamp from which each domain holds.
        frames: How many.
    """

    bag: Path
    domains: Path
    frames: int


def write_labelled_drive(
    folder: Path,
    *,
    seconds: float = 120.0,
    fps: float = 5.0,
    domains: Sequence[str] = THERE_AND_BACK,
    seed: int = SEED,
) -> LabelledDrive:
    """Return a drive of equal stages written to `folder`: `drive.mcap` and `domains.csv`.

    Args:
        folder: Made where missing.
        seconds: Length of the whole drive.
        fps: Camera rate.
        domains: The stages in order; by default every kind of weather, there and back.
        seed: Names street, traffic and weather.

    Raises:
        ConfigError: An unknown domain, or times that are not positive.
        BagError: The folder cannot be written.
    """
    if not domains or not seconds > 0:
        raise ConfigError(f"expected stages and seconds > 0, got {domains!r} and {seconds!r}")
    drive = Drive(seed, fps=fps, segments=[(name, seconds / len(domains)) for name in domains])
    bag_path, table_path = folder / "drive.mcap", folder / "domains.csv"
    changes: list[tuple[int, str]] = []
    with BagWriter(bag_path) as bag:
        for i in tqdm(range(len(drive)), desc="render the drive", disable=None, leave=False):
            shot = drive.frame(i)
            stamp = shot.stamp_ns
            image = jpeg_fields(
                shot.image.rgb, stamp_ns=stamp, frame_id=FRAME_ID, quality=_QUALITY
            )
            labels = png_fields(shot.image.labels, stamp_ns=stamp, frame_id=FRAME_ID)
            bag.write(CAMERA, COMPRESSED_IMAGE, image, stamp)
            bag.write(TRUTH, COMPRESSED_IMAGE, labels, stamp)
            if not changes or changes[-1][1] != shot.domain:
                changes.append((stamp, shot.domain))
    try:
        with table_path.open("w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(("stamp_ns", "domain"))
            rows.writerows(changes)
    except OSError as error:
        raise EvaluationError(f"cannot write {str(table_path)!r}: {error.strerror}") from error
    return LabelledDrive(bag_path, table_path, len(drive))
