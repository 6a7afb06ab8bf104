"""Files appear whole or not at all, whatever is in their place."""

import pytest

from semla_ros.core.errors import EvaluationError, LibraryError
from semla_ros.core.files.whole_file import write_file


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "a.json"
    for content in (b"one", b"two"):
        assert write_file(path, content, error=EvaluationError).read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [EvaluationError, LibraryError])
def test_what_cannot_be_written_is_the_callers_error(tmp_path, error):
    taken = tmp_path / "taken"
    (taken / "inside").mkdir(parents=True)
    with pytest.raises(error, match=r"cannot write .*taken"):
        write_file(taken, b"x", error=error)
    assert list(tmp_path.iterdir()) == [taken], "the draft is gone"
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(error, match="cannot write"):
        write_file(tmp_path / "file" / "below", b"x", error=error)
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_the_longest_name_that_a_file_may_have_is_written(tmp_path):
    path = tmp_path / ("x" * 255)
    write_file(path, b"a", error=EvaluationError)
    assert path.read_bytes() == b"a"
    with pytest.raises(EvaluationError, match="cannot write"):
        write_file(tmp_path / ("x" * 256), b"a", error=EvaluationError)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
