"""A labelled drive of three domains for the small bundle, whose embedding is the mean colour."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.writer import BagWriter

COLOURS = {"night": 2, "fog": 153, "rain": 204}
STEP_NS = 200_000_000
SIZE = (24, 32)


@dataclass(frozen=True)
class Drive:
    """A recording with labels, and the same as folders."""

    bag: Path
    images: Path
    labels: Path
    domains: Path
    frames: int


def labelled_drive(root: Path) -> Drive:
    """Ten frames each of night, fog and night at 5 Hz; truth of random classes."""
    rng = np.random.default_rng(3)
    names = ["night"] * 10 + ["fog"] * 10 + ["night"] * 10
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    with BagWriter(root / "drive.mcap") as bag, (root / "domains.csv").open("w") as table:
        rows = csv.writer(table)
        rows.writerow(("stamp_ns", "domain"))
        for i, name in enumerate(names):
            stamp = (i + 1) * STEP_NS
            noise = rng.integers(-2, 3, (*SIZE, 3))
            rgb = np.clip(COLOURS[name] + noise, 0, 255).astype(np.uint8)
            truth = np.repeat(rng.integers(0, 4, (6, 8), dtype=np.uint8), 4, 0).repeat(4, 1)
            truth[0] = 255
            cv2.imwrite(str(root / "images" / f"{i}.png"), rgb[..., ::-1])
            cv2.imwrite(str(root / "labels" / f"{i}.png"), truth)
            for topic, image in (("/camera", rgb), ("/truth", truth)):
                fields = image_fields(image, stamp_ns=stamp, frame_id="cam")
                bag.write(topic, IMAGE, fields, stamp)
            rows.writerow((stamp, name))
    return Drive(
        root / "drive.mcap", root / "images", root / "labels", root / "domains.csv", len(names)
    )
