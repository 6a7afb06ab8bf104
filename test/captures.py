"""Frames as the node captures them, for tests of what writes and reads them."""

from pathlib import Path

import numpy as np

from semla_ros.core.files.png import png_content
from semla_ros.core.types import AdapterMix
from semla_ros.data.captures.record import (
    CaptureIdentity,
    CaptureRecord,
    capture_name,
    image_file,
    mask_file,
    sha256_of,
)
from semla_ros.data.captures.ring import CaptureLimits, CaptureRing

DIM = 8
IDENTITY = CaptureIdentity("clip:tiny", DIM)
CLASSES = ("road", "car", "sky")
ROOMY = CaptureLimits(max_bytes=10**9, max_age_s=0.0, spread=0.0)


def frame_of(stamp_ns, *, embedding=None, size=(24, 32), captured_ns=None, **changes):
    """Return record and files of a captured frame; the same stamp gives the same pictures."""
    rng = np.random.default_rng(stamp_ns)
    name = capture_name(stamp_ns)
    rgb = rng.integers(0, 256, (*size, 3), np.uint8)
    labels = np.repeat(np.repeat(rng.integers(0, 3, (4, 4), np.uint8), 6, 0), 8, 1)[
        : size[0], : size[1]
    ]
    files = {image_file(name): png_content(rgb), mask_file(name): png_content(labels)}
    values = {
        "stamp_ns": stamp_ns,
        "captured_ns": stamp_ns if captured_ns is None else captured_ns,
        "frame_id": "camera",
        "reason": "out_of_library",
        "level": "OUT_OF_LIBRARY",
        "support": 0.07,
        "novelty": float("nan"),
        "expected_miou": float("nan"),
        "nearest": "fog",
        "nearest_distance": 11.5,
        "mix": AdapterMix(("fog", "base"), (0.75, 0.25)),
        "classes": CLASSES,
        "embedding": rng.normal(size=DIM).astype(np.float32) if embedding is None else embedding,
        "sha256": {n: sha256_of(c) for n, c in files.items()},
    }
    return CaptureRecord(**(values | changes)), files


def write_captures(folder: Path, stamps, *, identity=IDENTITY, embeddings=None, **changes):
    """Write frames of these stamps into `folder`, as a node would."""
    ring = CaptureRing(folder, identity)
    for i, stamp in enumerate(stamps):
        embedding = None if embeddings is None else embeddings[i]
        ring.keep(*frame_of(stamp, embedding=embedding, **changes), ROOMY)
    ring.close()
    return folder
