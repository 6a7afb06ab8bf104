"""Shared memory that killed processes leave behind, and that nobody else may lose."""

from __future__ import annotations

from pathlib import Path

_SHARED = Path("/dev/shm")
_MAKERS = ("fastdds_", "fastrtps_")


class Leftovers:
    """Remembers which files in /dev/shm the drill's processes had mapped."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def note(self, pid: int) -> None:
        """Remember what process `pid` has mapped now."""
        self._names |= mapped(pid)

    def remove(self) -> None:
        """Remove what is still there and mapped by no living process."""
        used: set[str] = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                used |= mapped(int(entry.name))
        for name in self._names - used:
            for each in (name, f"{name}_el", f"sem.{name}_mutex"):
                (_SHARED / each).unlink(missing_ok=True)


def mapped(pid: int) -> set[str]:
    """Return the names in /dev/shm that process `pid` maps; none if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    paths = [line.rpartition(" ")[2] for line in lines.splitlines() if str(_SHARED) in line]
    names = {Path(path).name for path in paths if path.startswith(f"{_SHARED}/")}
    return {name for name in names if name.startswith(_MAKERS)}
