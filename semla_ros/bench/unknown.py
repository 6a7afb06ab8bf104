"""Which way of filtering tells unknown places from known ones? For docs/library.md.

`python -m semla_ros.bench.unknown [RECORDING …]` embeds new drives of the demo world, whose
weather the library knows, and recordings of anything else, five frames a second, and prints the
share of frames that are OUT_OF_LIBRARY three ways: frame by frame, by the novelty of the filtered
embedding, and by the filtered novelty of single frames, as the node judges.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.config import Config
from semla_ros.core.types import Frame
from semla_ros.data.bags.reader import SkippedFrame, read_frames
from semla_ros.demo.world import DOMAINS
from semla_ros.demo.world.drive import Drive
from semla_ros.library.library import AdapterLibrary
from semla_ros.navigator.encoder import OnnxImageEncoder
from semla_ros.navigator.navigator import Navigator
from semla_ros.navigator.smoothing import EmbeddingFilter
from semla_ros.pipeline.assembly import default_bundle
from semla_ros.pipeline.library_view import bank_of
from semla_ros.pipeline.settings import LiveSettings
from semla_ros.pipeline.unknown import UnknownWatch

PERIOD_NS = 200_000_000
SEEDS = (9_100_001, 9_100_002, 9_100_003)


def known_drive(seed: int, *, seconds: float = 12.0) -> Iterator[Frame]:
    """Yield a drive through all weather in an order of its own, five frames a second."""
    order = np.random.default_rng(seed).permutation(len(DOMAINS))
    drive = Drive(seed, fps=5.0, segments=tuple((DOMAINS[i], seconds) for i in order))
    for number in range(len(drive)):
        made = drive.frame(number)
        yield Frame(made.stamp_ns, "", made.image.rgb)


def thinned(frames: Iterable[Frame | SkippedFrame]) -> Iterator[Frame]:
    """Yield about five frames a second."""
    due = None
    for frame in frames:
        if isinstance(frame, Frame) and (due is None or frame.stamp_ns >= due):
            due = frame.stamp_ns + PERIOD_NS
            yield frame


def shares(bundle: ModelBundle, frames: Iterable[Frame]) -> tuple[int, tuple[float, ...]]:
    """Return how many frames there were, and the share outside by each of the three ways."""
    config, encoder = Config(), OnnxImageEncoder(bundle, threads=1)
    settings = LiveSettings.of(config, bundle.manifest.defaults)
    bank = bank_of(AdapterLibrary.of(bundle), distance=settings.distance)
    times = {"time_constant_s": config.ema_time_s, "max_gap_s": config.max_gap_s}
    navigator = Navigator(encoder, bank, distance=settings.distance, **times)
    smooth, watch = EmbeddingFilter(**times), UnknownWatch(config)
    found = []
    for frame in frames:
        embedding = encoder.encode(frame.rgb)
        alone = navigator.update(frame.stamp_ns, embedding)
        filtered = navigator.update(frame.stamp_ns, smooth.update(frame.stamp_ns, embedding))
        watch.look(alone, settings)
        found.append(
            [
                settings.outside(e, novelty=settings.novelty(e), before=False)
                for e in (alone, filtered)
            ]
            + [watch.outside]
        )
    return len(found), tuple(np.mean(found, axis=0).tolist())


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--bundle", type=Path, default=None)
    options = parser.parse_args(arguments)
    bundle = open_bundle(options.bundle or default_bundle(), verify=False)
    rows = {f"new drive {seed}": known_drive(seed) for seed in SEEDS}
    rows |= {path.name: thinned(read_frames(path)) for path in options.recordings}
    _say("| frames of | frames | single | filtered embedding | filtered novelty |")
    _say("| --- | ---: | ---: | ---: | ---: |")
    for name, frames in rows.items():
        count, found = shares(bundle, frames)
        cells = " | ".join(f"{100 * each:.1f} %" for each in found)
        _say(f"| {name} | {count} | {cells} |")


if __name__ == "__main__":
    main()
