"""Where the real recordings are, and small recordings made here."""

import io
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def shared_data():
    """Return a function from a name to its path in the shared data; skips where it is missing."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("SEMLA_SHARED", ROOT.parent / "shared")) / "data"
        path = folder / name
        if not path.exists():
            pytest.skip(f"missing real data: {name} (set SEMLA_SHARED)")
        return path

    return find


@pytest.fixture
def largest_read(monkeypatch):
    """Return a function to the most bytes asked of a file at once; 4 MB at most are given."""
    sizes = []

    class Watched(io.FileIO):
        def read(self, size=-1):
            sizes.append(size)
            return super().read(min(size, 4 << 20))

    def opened(path, mode="r", *others, **options):
        return Watched(path) if mode == "rb" else plain(path, mode, *others, **options)

    plain = Path.open
    monkeypatch.setattr(Path, "open", opened)
    return lambda: max(sizes)
