"""The world's truth in the place of people who label, for `semla loop demo`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import numpy as np

from semla_ros.data.labelling.label_set import Labelling, read_label_set, write_label_set
from semla_ros.demo.footage import Footage
from semla_ros.demo.laps import FoundGap
from semla_ros.demo.world import CLASSES

_STAMP_DIGITS = 19
_PICTURES = 6


def labelled_gap(folder: Path, footage: Footage) -> FoundGap:
    """Label a set of `semla gaps` with the truth of its frames; return what the set is.

    Raises:
        CaptureError: The folder is no set, or cannot be written.
    """
    truth = {f.stamp_ns: t for f, t in zip(footage.frames, footage.labels, strict=True)}
    rgb = {frame.stamp_ns: frame.rgb for frame in footage.frames}
    made, domain_of, stamps = read_label_set(folder), footage.domain_of, []
    for image in made.images:
        stamps.append(int(image.name[-_STAMP_DIGITS:]))
        made.write_label(image, truth[stamps[-1]])
    domains = dict(Counter(domain_of[stamp] for stamp in stamps).most_common())
    pictures = tuple(rgb[stamps[place]] for place in _evenly(len(stamps), _PICTURES))
    return FoundGap(folder.name, domains, pictures)


def labelled_known(
    out: Path, footage: Footage, domains: Collection[str], *, frames: int
) -> list[str]:
    """Write labelled frames of known domains; return them as words for `semla loop train`.

    Args:
        out: Folder for a set of each domain.
        footage: Where they are taken from, evenly.
        domains: Which.
        frames: Of each domain, at most.

    Raises:
        CaptureError: A set is there already, or cannot be written.
    """
    shots = list(zip(footage.frames, footage.labels, footage.domains, strict=True))
    inputs, labels = [], []
    for domain in sorted(domains):
        own = [(frame, truth) for frame, truth, name in shots if name == domain]
        chosen = [own[place] for place in _evenly(len(own), frames)]
        items = [Labelling(f"{f.stamp_ns:0{_STAMP_DIGITS}d}", f.rgb, None) for f, _ in chosen]
        made = write_label_set(out / domain, CLASSES, items)
        for image, (_, truth) in zip(made.images, chosen, strict=True):
            made.write_label(image, truth)
        inputs.append(f"{domain}={made.root / 'images'}")
        labels += ["--labels", f"{domain}={made.root / 'labels'}"]
    return ["--others", *inputs, *labels]


def _evenly(count: int, most: int) -> list[int]:
    """Return at most `most` places of `count`, evenly."""
    places: list[int] = np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
    return places
