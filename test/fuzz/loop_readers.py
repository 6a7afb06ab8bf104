"""Readers of what comes back from robots and from labelling tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from captures import CLASSES, DIM, frame_of

from semla_ros.core.files.png import png_content
from semla_ros.data.labelling.archive import Archive, zip_content
from semla_ros.data.labelling.coco import coco_content, coco_masks
from semla_ros.data.labelling.cvat import cvat_files, cvat_masks
from semla_ros.data.labelling.label_set import read_label_set
from semla_ros.data.labelling.label_studio import label_studio_masks, label_studio_tasks

_UNLABELED = 255
_MASKS = (("a", np.arange(12, dtype=np.uint8).reshape(3, 4) % 4),)


def records(_: Path) -> Sequence[bytes]:
    return [frame_of(1)[0].content(), frame_of(1, reason="low", level="LOW")[0].content()]


def read_record(path: Path) -> object:
    from semla_ros.data.captures.folder import read_record

    for name, content in frame_of(1)[1].items():
        (path.parent / name).write_bytes(content)
    return read_record(path.parent, path.stem, dim=DIM)


def cvat_zips(_: Path) -> Sequence[bytes]:
    return [zip_content(cvat_files(CLASSES, _MASKS))]


def read_cvat(path: Path) -> object:
    with Archive(path) as archive:
        return list(cvat_masks(archive, CLASSES, unlabeled=_UNLABELED))


def label_studio_exports(_: Path) -> Sequence[bytes]:
    (task,) = json.loads(label_studio_tasks(CLASSES, _MASKS, images=""))
    task["annotations"] = task.pop("predictions")
    return [json.dumps([task]).encode()]


def read_label_studio(path: Path) -> object:
    return list(label_studio_masks(path.read_bytes(), CLASSES, unlabeled=_UNLABELED))


def cocos(_: Path) -> Sequence[bytes]:
    whole = json.loads(coco_content(CLASSES, _MASKS))
    packed, polygon = (json.loads(json.dumps(whole)) for _ in range(2))
    packed["annotations"][0]["segmentation"]["counts"] = "<"  # one run of 12
    polygon["annotations"][0]["segmentation"] = [[0, 0, 3, 0, 3, 2]]
    return [json.dumps(each).encode() for each in (whole, packed, polygon)]


def read_coco(path: Path) -> object:
    return list(coco_masks(path.read_bytes(), CLASSES, unlabeled=_UNLABELED))


def label_sets(folder: Path) -> Sequence[bytes]:
    from semla_ros.data.labelling.label_set import Labelling, write_label_set

    items = [Labelling("a", np.zeros((3, 4, 3), np.uint8), _MASKS[0][1] % 3)]
    return [(write_label_set(folder / "set", CLASSES, items).root / "set.json").read_bytes()]


def read_set(path: Path) -> object:
    (path.parent / "images").mkdir(exist_ok=True)
    (path.parent / "images" / "a.png").write_bytes(png_content(np.zeros((3, 4, 3), np.uint8)))
    return read_label_set(path.parent)


def histories(_: Path) -> Sequence[bytes]:
    state = {"format": 1, "when_ns": 1, "why": "x", "domains": {"fog": {"a": "0" * 64}}}
    return [json.dumps(state).encode()]


def read_history(path: Path) -> object:
    from semla_ros.prepare.adapters.history import history

    folder = path.parent / ".history"
    folder.mkdir(exist_ok=True)
    (folder / path.name).write_bytes(path.read_bytes())
    return history(path.parent)
