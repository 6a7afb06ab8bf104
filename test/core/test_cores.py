from __future__ import annotations

from pathlib import Path

import pytest

from semla_ros.core.cores import quotas, usable_cores


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, []),
        ({"a/b": "max 100000"}, []),
        ({"a/b": "200000 100000"}, [2]),
        ({"a/b": "150000 100000", "a": "400000 100000"}, [2, 4]),
        ({"": "50000 100000"}, [1]),
        ({"other": "100000 100000", "a/b": "nonsense"}, []),
    ],
)
def test_quotas_of_all_groups_above_count(
    tmp_path: Path, files: dict[str, str], expected: list[int]
) -> None:
    for name, text in files.items():
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "cpu.max").write_text(text + "\n")
    own = tmp_path / "own"
    own.write_text("1:cpu:/elsewhere\n0::/a/b\n")
    assert list(quotas(tmp_path, own)) == expected


@pytest.mark.parametrize("text", ["1:cpu:/a\n", "0::/../../a\n"])
def test_a_group_out_of_sight_is_no_quota(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "own").write_text(text)
    assert list(quotas(tmp_path, tmp_path / "own")) == []
    assert list(quotas(tmp_path, tmp_path / "missing")) == []


def test_affinity_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3})
    assert usable_cores() == 1
