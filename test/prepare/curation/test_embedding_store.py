"""The file of an interrupted run: whole blocks stay, everything else goes."""

import numpy as np
import pytest

from semla_ros.core.errors import LibraryError
from semla_ros.prepare.curation.embedding_store import Block, EmbeddingStore, LeftOut

DIM = 4


def block(number, count=3):
    rows = np.random.default_rng(number).normal(size=(count, DIM)).astype(np.float32)
    return Block(number, rows, (LeftOut(f"bad{number}.png", "torn"),))


def opened(path, key="key", dim=DIM):
    return EmbeddingStore(path, key=key, dim=dim)


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".fog.resume"


def fill(path, numbers=(0, 1, 2)):
    with opened(path) as store:
        for number in numbers:
            store.append(block(number))


def test_blocks_come_back(path):
    fill(path, (0, 1, 5))
    with opened(path) as store:
        assert store.done == {0, 1, 5}
        for got, number in zip(store.blocks(), (0, 1, 5), strict=True):
            np.testing.assert_array_equal(got.rows, block(number).rows)
            assert got.left_out == block(number).left_out
        store.append(block(2, count=0))
        assert [b.number for b in store.blocks()] == [0, 1, 2, 5]


@pytest.mark.parametrize("cut", [1, 8, 30, 70])
def test_a_block_cut_short_is_dropped_and_the_next_takes_its_place(path, cut):
    fill(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with opened(path) as store:
        assert store.done == {0, 1}
        store.append(block(2))
    assert path.read_bytes() == whole


def test_a_damaged_block_ends_what_is_believed(path):
    fill(path)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    with opened(path) as store:
        assert store.done == {0, 1}


@pytest.mark.parametrize("changes", [{"key": "other"}, {"dim": 5}])
def test_another_source_starts_anew(path, changes, caplog):
    fill(path)
    with opened(path, **changes) as store:
        assert not store.done
    assert "starting anew" in caplog.text


def test_foreign_bytes_start_anew(path):
    path.write_bytes(b"\xff" * 9000)
    with opened(path) as store:
        store.append(block(0))
        assert store.done == {0}


def test_two_runs_at_once_are_refused(path):
    with opened(path), pytest.raises(LibraryError, match="another run"):
        opened(path)
    with opened(path):
        pass


def test_discard_deletes(path):
    with opened(path) as store:
        store.discard()
    assert not path.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(LibraryError, match="cannot write"):
        opened(tmp_path / "nowhere" / "x")
