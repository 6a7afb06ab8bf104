"""A labelled drive."""

from __future__ import annotations

import pytest
from labelled_drive import Drive, labelled_drive


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """See `labelled_drive`."""
    return labelled_drive(tmp_path_factory.mktemp("drive"))
