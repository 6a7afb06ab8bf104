from __future__ import annotations

from pathlib import Path

import numpy as np

from semla_ros.data.bags.messages import IMAGE, image_fields
from semla_ros.data.bags.writer import BagWriter
from semla_ros.data.labels.label_map import read_label_map
from semla_ros.data.labels.source import TopicTruth


def test_ids_on_a_topic_are_never_guessed(tmp_path: Path) -> None:
    """11 is a building among label ids, and a person among train ids."""
    with BagWriter(tmp_path / "x.mcap") as bag:
        fields = image_fields(np.full((2, 2), 11, np.uint8), stamp_ns=1, frame_id="")
        bag.write("/truth", IMAGE, fields, 1)

    def of(name: str) -> TopicTruth:
        label_map, classes = read_label_map(name), ("building", "person")
        path = tmp_path / "x.mcap"
        return TopicTruth(path, "/truth", label_map, classes=classes, max_pixels=9)

    refused = of("cityscapes").truth(1, "")
    assert refused.labels is None
    assert "cityscapes:label_ids or --label-map cityscapes:train_ids" in refused.problem
    for table, expected in (("label_ids", 0), ("train_ids", 1)):
        labels = of(f"cityscapes:{table}").truth(1, "").labels
        assert labels is not None
        assert (labels == expected).all()
