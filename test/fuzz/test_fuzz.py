"""Whatever a file holds: a value or one line of ours, within bounds of memory and time."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz.readers import READERS
from fuzz.runner import CORPUS, fuzz, in_memory

for module in ("torch", "onnx"):
    pytest.importorskip(module, reason=f"needs {module} to make files: scripts/setup --dev")

CASES = 60


@pytest.fixture
def work() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        yield Path(folder)


def listed(outcome):
    return "\n".join(f"{f.reader}: {f.wrong}: {f.case[:60]!r}" for f in outcome.findings)


def test_damaged_files_of_every_kind(work: Path) -> None:
    outcome = fuzz(list(READERS), work, "--cases", str(CASES), "--seed", "11")
    assert not outcome.findings, listed(outcome)
    assert outcome.counts == dict.fromkeys(READERS, CASES)


KEPT = {r: sorted(CORPUS.glob(f"{r}-*")) for r in READERS if any(CORPUS.glob(f"{r}-*"))}


def test_every_kept_file_belongs_to_a_reader() -> None:
    assert sum(map(len, KEPT.values())) == len([f for f in CORPUS.iterdir() if "-" in f.name])


@pytest.mark.parametrize("reader", KEPT)
def test_what_once_failed(reader: str, work: Path) -> None:
    """Files that `scripts/fuzz` found, and what was found by hand."""
    outcome = fuzz([reader], work, "--only", *map(str, KEPT[reader]))
    assert not outcome.findings, listed(outcome)
    assert outcome.counts == {reader: len(KEPT[reader])}
