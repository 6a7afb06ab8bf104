"""What an interrupted run leaves: whole blocks stay, everything else is made anew."""

import numpy as np
import pytest

from semla_ros.core.errors import LibraryError
from semla_ros.prepare.curation.embedding_store import Block, LeftOut, open_store

DIM = 4


def block(number, count=3):
    rows = np.random.default_rng(number).normal(size=(count, DIM)).astype(np.float32)
    return Block(number, rows, (LeftOut(f"bad{number}.png", "torn"),) * (number % 3))


def opened(path, key="key", dim=DIM):
    return open_store(path, key=key, dim=dim)


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


def cut(data):
    return data[:-8]


def flipped(data):
    at = data.index(block(1).rows.tobytes()) + 5
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def foreign(_):
    return b"\xff" * 9000


@pytest.mark.parametrize("damage", [cut, flipped, foreign])
def test_a_damaged_block_is_made_again(path, damage):
    fill(path)
    file = sorted(path.glob("*.npz"))[1]
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with opened(path) as store:
        assert store.done == {0, 2}
        store.append(block(1))
        assert [b.number for b in store.blocks()] == [0, 1, 2]
    assert file.read_bytes() == whole


@pytest.mark.parametrize("changes", [{"key": "other"}, {"dim": 5}])
def test_another_source_starts_anew(path, changes, caplog):
    fill(path)
    with opened(path, **changes) as store:
        assert not store.done
    assert "starting anew" in caplog.text


def test_blocks_that_change_while_in_use_are_named(path):
    fill(path)
    with opened(path) as store:
        blocks = store.blocks()
        assert next(blocks).number == 0
        (path / "00000001.npz").write_bytes(b"")
        with pytest.raises(LibraryError, match="changed while in use"):
            next(blocks)


def test_two_runs_at_once_are_refused(path):
    with opened(path), pytest.raises(LibraryError, match="another run"), opened(path):
        pass
    with opened(path):
        pass


def test_discard_deletes(path):
    with opened(path) as store:
        store.append(block(0))
        store.discard()
    assert not path.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(LibraryError, match="cannot write"), opened(tmp_path / "nowhere" / "x"):
        pass
