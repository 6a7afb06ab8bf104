"""Faults of the adapters on disk, while the node drives."""

from __future__ import annotations

import json
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from semla_ros.bench.drill.fault import SMALL, TURNS, Fault, Script
from semla_ros.bench.drill.session import Session
from semla_ros.bench.drill.verdicts import answers, goes_on, sees, tells

VICTIM, OTHER = "fog-night", "rain-day"
WEIGHTS = "adapter_model.safetensors"
SEALS = "SHA256SUMS"
_DAMAGED_BYTES = 14_000
_COPY = "copy the adapter's folder again, then call ~/reload_library"


def library(session: Session) -> Path:
    """Return the folder of the node's adapters."""
    return session.bundle / "library"


def damaged(damage: Callable[[Path], None]) -> Script:
    """Return the script that damages an adapter, reloads and pins it, and mends it again."""

    def play(session: Session) -> Iterator[None]:
        folder = library(session) / VICTIM
        shutil.copytree(folder, session.bundle / "kept")
        damage(folder)
        session.order("reload", "reload_library")
        session.order("pin of the damaged adapter", "select_adapters", mode=1, names=[VICTIM])
        session.order("pin of another", "select_adapters", mode=1, names=[OTHER])
        session.order("follow", "select_adapters", mode=0)
        session.camera(pictures=[VICTIM])
        yield
        shutil.rmtree(folder)
        kept = session.bundle / "kept"
        kept.rename(folder)
        session.order("reload of the mended", "reload_library")
        session.order("pin of the mended", "select_adapters", mode=1, names=[VICTIM])
        session.order("follow again", "select_adapters", mode=0)

    return play


def cut(folder: Path) -> None:
    """Lose half of an adapter's weights."""
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_base(folder: Path) -> None:
    """Let an adapter that nobody has sealed say that it belongs to another base model."""
    (folder / SEALS).unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "catseg:0000000000000000"
    path.write_text(json.dumps(config), encoding="utf-8")


def no_centroid(folder: Path) -> None:
    """Lose an adapter's statistics."""
    (folder / f"{folder.name}_statistics.npz").unlink()


def constant(folder: Path) -> None:
    """Overwrite 14 kB in the middle of an adapter's weights with a finite constant."""
    path = folder / WEIGHTS
    data = bytearray(path.read_bytes())
    (header,) = struct.unpack_from("<Q", data)
    middle = 8 + header + (len(data) - 8 - header) // 8 * 4
    data[middle : middle + _DAMAGED_BYTES] = struct.pack("<f", 30.0) * (_DAMAGED_BYTES // 4)
    path.write_bytes(data)


def constant_unsealed(folder: Path) -> None:
    """The same in an adapter that nobody has sealed."""
    (folder / SEALS).unlink(missing_ok=True)
    constant(folder)


def _damage(name: str, does: str, damage: Callable[[Path], None]) -> Fault:
    expects = (
        goes_on(),
        tells("adapters", words=(VICTIM,)),
        answers("pin of the damaged adapter", success=False, words=(VICTIM,)),
        answers("pin of another", success=True),
        answers("pin of the mended", success=True),
    )
    return Fault(name, does, damaged(damage), expects, human=_COPY)


def unreadable(session: Session) -> Iterator[None]:
    """Take the library away while the scene changes, put it back, and look for swaps."""
    session.camera(**TURNS)
    away = library(session).rename(session.bundle / "away")
    yield
    away.rename(library(session))
    session.ended_ns = back = time.monotonic_ns()
    swapped = session.wait(lambda h: any(s.committed and s.at > back for s in h.swaps), 20.0)
    session.facts["swaps again"] = "yes" if swapped else "no"


DAMAGED = (
    _damage("corrupt adapter", "half of an adapter's weights are missing", cut),
    _damage("wrong base", "an adapter of another base model", other_base),
    _damage("missing centroid", "an adapter's statistics are missing", no_centroid),
    _damage("constant in adapter", "14 kB of an adapter are a finite constant", constant),
    _damage(
        "constant, unsealed", "the same in an adapter that has no checksums", constant_unsealed
    ),
    Fault(
        "adapters unreadable",
        "the library's medium goes away while the scene changes, and comes back",
        unreadable,
        (goes_on(), tells("adapters"), sees("swaps again", "yes", "swaps again once it is back")),
        setup=SMALL,
        seconds=10.0,
        human="look after the medium; nothing else once it is back",
    ),
)
