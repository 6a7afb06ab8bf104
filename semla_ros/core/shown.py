"""Names of files as people read them, and as native libraries may be given them.

A name on Linux is bytes; those that are no UTF-8 reach Python as lone surrogates, which no text
file can hold, which ONNX Runtime refuses, and on which OpenCV 5's binding ends the process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def utf8(text: str) -> bytes:
    r"""Return `text` in UTF-8; what cannot be said in it as `\udcff`."""
    return text.encode("utf-8", "backslashreplace")


def shown(name: object) -> str:
    """Return the text of `name` (or path) that can be printed and stored anywhere."""
    return utf8(str(name)).decode("utf-8")


@contextmanager
def native_path(path: Path) -> Iterator[str]:
    """Yield a name of `path` that OpenCV and ONNX Runtime take: its own, or that of a link to it.

    The file need not exist yet: writing to the link makes it.
    """
    if shown(path) == str(path):
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="semla-") as folder:
        suffix = path.suffix if path.suffix.isascii() else ""
        link = Path(folder) / f"file{suffix}"
        link.symlink_to(path.absolute())
        yield str(link)
