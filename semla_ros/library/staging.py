"""Hidden folders in which changes of a library are made before they appear."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """Yield a hidden folder on the disk of `parent`, so that a rename is one step."""
    folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
