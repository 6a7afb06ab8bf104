"""Samples of many domains in bounded memory: every one keeps some of its images."""

import numpy as np
import pytest

from semla_ros.core.errors import LibraryError
from semla_ros.core.novelty import EmbeddingSample
from semla_ros.library.spread import StatisticsStore
from semla_ros.library.statistics import DomainStatistics


def statistics(rows, dim=4):
    embeddings = np.arange(rows * dim, dtype=np.float32).reshape(rows, dim)
    sample = EmbeddingSample(embeddings, np.arange(rows) * 3 // rows, rows)
    return DomainStatistics(embeddings.mean(axis=0), count=rows, sample=sample)


def test_all_is_kept_where_there_is_room():
    store = StatisticsStore()
    store.add("a", statistics(60))
    assert len(store.by_name["a"].sample.embeddings) == 60


def test_beyond_the_bound_every_domain_keeps_every_second_image():
    store = StatisticsStore(sample_bytes=60 * 4 * 4)
    for name in "abcd":
        store.add(name, statistics(60))
    kept = [each.sample for each in store.by_name.values()]
    assert [len(each.embeddings) for each in kept] == [15] * 4
    assert all(each.images == 60 for each in kept), "what they stand for stays"
    assert all(set(each.blocks.tolist()) == {0, 1, 2} for each in kept)


def test_more_domains_than_the_bound_has_room_for_keep_one_each():
    store = StatisticsStore(sample_bytes=1)
    for name in "abc":
        store.add(name, statistics(60))
    assert [len(each.sample.embeddings) for each in store.by_name.values()] == [1] * 3


@pytest.mark.parametrize(
    ("rows", "blocks", "images"), [((3,), 3, 3), ((3, 2), 2, 3), ((3, 2), 3, 2)]
)
def test_impossible_samples_are_refused(rows, blocks, images):
    with pytest.raises(LibraryError, match="expected a sample"):
        EmbeddingSample(np.zeros(rows, np.float32), np.zeros(blocks, np.int64), images)
