"""Where the real recordings are, and small recordings made here."""

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
