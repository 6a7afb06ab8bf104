"""Git LFS pointers: small texts that lie where a large file should."""

from __future__ import annotations

from pathlib import Path

_SIGN = b"version https://git-lfs.github.com/spec/"


def lfs_remedy(head: bytes) -> str:
    """Return what to do about a file that begins with `head`, empty where it is no pointer."""
    if not head.startswith(_SIGN):
        return ""
    return "it is a Git LFS pointer, not the file itself: run `git lfs pull` in its repository"


def lfs_remedy_of(path: Path) -> str:
    """Return `lfs_remedy` of the file at `path`, empty where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return lfs_remedy(stream.read(len(_SIGN)))
    except OSError:
        return ""
