"""Library gaps as pictures: contact sheet, images and a bag ready for labelling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from semla_ros.core.errors import EvaluationError
from semla_ros.core.types import UInt8Array
from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.writer import BagWriter
from semla_ros.data.inputs import InputOptions, open_input, unheard
from semla_ros.evaluation.analysis.gaps import Gap, GapFrame
from semla_ros.evaluation.files import write_file
from semla_ros.evaluation.page import note, picture, picture_of, section, table_section
from semla_ros.evaluation.run import write_image
from semla_ros.evaluation.study.study import SequenceResult, Study
from semla_ros.evaluation.table import csv_text, table_of

BAG, TABLE, SHEET = "gaps.mcap", "gaps.csv", "contact_sheet.png"
TOPIC = "/camera/image_raw"
_WIDTH = 220
_FIELDS = ("gap", "recording", "index", "stamp_ns", "domain", "level", "support", "file")


def gap_pictures(
    study: Study, frames: Sequence[GapFrame]
) -> Iterator[tuple[GapFrame, UInt8Array]]:
    """Yield the images of `frames` from the recordings they came from, recording by recording.

    Raises:
        EvaluationError: A recording is no longer where it was.
    """
    for recording in study.recordings:
        wanted = {f.index: f for f in frames if f.recording == recording.name}
        if wanted:
            yield from _read(recording, wanted)


def _read(
    recording: SequenceResult, wanted: Mapping[int, GapFrame]
) -> Iterator[tuple[GapFrame, UInt8Array]]:
    options = InputOptions(topic=recording.topic or None)
    frames = open_input(Path(recording.source), options)
    for each in frames.read(on_note=unheard, keep=wanted.__contains__):
        if each.index in wanted and each.frame is not None:
            yield wanted[each.index], each.frame.rgb


def contact_sheet(rows: Sequence[Sequence[UInt8Array]]) -> UInt8Array:
    """Return the exemplars of each gap as one picture, (h, w, 3) RGB, a row each.

    Raises:
        EvaluationError: No picture.
    """
    if not any(rows):
        raise EvaluationError("expected pictures of gaps, got none")
    columns = max(len(row) for row in rows)
    strips = []
    for row in rows:
        if not row:
            continue
        height = max(1, round(row[0].shape[0] * _WIDTH / row[0].shape[1]))
        strip = np.full((height + 6, columns * (_WIDTH + 6), 3), 255, np.uint8)
        for place, image in enumerate(row):
            small = cv2.resize(image, (_WIDTH, height), interpolation=cv2.INTER_AREA)
            strip[3 : 3 + height, place * (_WIDTH + 6) + 3 :][:, :_WIDTH] = small
        strips.append(strip)
    return np.concatenate(strips)


def gap_section(study: Study, gaps: Sequence[Gap]) -> str:
    """Return the section of the page; pictures where the recordings are still there."""
    if not gaps:
        body = note("No frame has low support: the library covers what was seen.")
        return section("What the library lacks", body)
    found = table_of(
        "What the library lacks",
        gaps,
        {
            "gap": lambda g: g.number,
            "frames": lambda g: len(g.frames),
            "share %": lambda g: 100 * g.share,
            "out of library %": lambda g: 100 * g.out_of_library,
            "nearest adapter": lambda g: g.nearest,
            "domains": lambda g: ", ".join(g.domains[:4]),
        },
        note="Frames of low support in groups of like frames (k-means on the embeddings); a row "
        "of pictures shows the most typical ones of each group, in the table's order.",
    )
    sheet = _sheet(study, gaps)
    alt = "Contact sheet: one row of typical frames for each gap"
    shown = "" if sheet is None else picture(picture_of(sheet, ".jpg"), alt=alt)
    return table_section(found, after=shown, sortable=False)


def _sheet(study: Study, gaps: Sequence[Gap]) -> UInt8Array | None:
    wanted = [f for gap in gaps for f in gap.exemplars]
    try:
        images = {(f.recording, f.index): rgb for f, rgb in gap_pictures(study, wanted)}
    except EvaluationError:
        return None
    rows = [
        [images[f.recording, f.index] for f in g.exemplars if (f.recording, f.index) in images]
        for g in gaps
    ]
    return contact_sheet(rows) if any(rows) else None


def export_gaps(study: Study, gaps: Sequence[Gap], out: Path) -> tuple[Path, ...]:
    """Write images, a bag and a table of every gap frame, ready for labelling; return the files.

    `gap-1/<recording>-<index>.png` and so on; the bag plays them on `TOPIC` in order of stamps of
    each recording.

    Raises:
        EvaluationError: There is no gap, a recording is gone, or `out` cannot be written.
        BagError: The bag cannot be written.
    """
    if not gaps:
        raise EvaluationError("expected gaps to export, got none: no frame has low support")
    number = {(f.recording, f.index): g.number for g in gaps for f in g.frames}
    frames = [f for g in gaps for f in g.frames]
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    with ExitStack() as stack:
        bag = stack.enter_context(BagWriter(out / BAG))
        for frame, rgb in gap_pictures(study, frames):
            gap = number[frame.recording, frame.index]
            name = f"gap-{gap}/{frame.recording}-{frame.index:06d}.png"
            (out / name).parent.mkdir(exist_ok=True)
            write_image(out / name, rgb)
            fields = image_fields(rgb, stamp_ns=frame.stamp_ns, frame_id=frame.recording)
            bag.write(TOPIC, IMAGE, fields, frame.stamp_ns)
            rows.append(
                (gap, frame.recording, frame.index, frame.stamp_ns, frame.domain, frame.level,
                 f"{frame.support:.6g}", name)
            )  # fmt: skip
    sheet = _sheet(study, gaps)
    if sheet is not None:
        write_image(out / SHEET, sheet)
    files = (out / BAG, write_file(out / TABLE, csv_text(_FIELDS, rows)))
    return (*files, out / SHEET) if sheet is not None else files
