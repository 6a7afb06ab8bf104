"""`semla bench swap` from request to record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from semla_ros.bench.candidates import Material
from semla_ros.bench.frames import film
from semla_ros.bench.made_bundle import BUNDLE, VIT_B, bundle_of
from semla_ros.bench.record import BenchRecord
from semla_ros.bench.swap_bench import CANDIDATES, run_swap_bench
from semla_ros.bench.swap_record import swap_record
from semla_ros.errors import ConfigError
from semla_ros.library.storage import read_adapter

_MOST_ADAPTERS = 3


@dataclass(frozen=True, slots=True)
class SwapRequest:
    """What `semla bench swap` was asked for.

    Attributes:
        bundle: Model bundle, None for the demo bundle.
        shapes: `bundle`, or `vit-b` for a network of the published size with random weights.
        rounds, frames: See `run_swap_bench`.
        keys: Candidates; empty: all.
        threads: CPU threads; 0: all cores but one.
    """

    bundle: Path | None = None
    shapes: str = BUNDLE
    rounds: int = 5
    frames: int = 30
    keys: tuple[str, ...] = ()
    threads: int = 0

    def __post_init__(self) -> None:
        unknown = [key for key in self.keys if key not in CANDIDATES]
        if unknown:
            raise ConfigError(f"expected candidates of {tuple(CANDIDATES)!r}, got {unknown!r}")
        if self.rounds < 1 or self.frames < 2 or self.shapes not in (BUNDLE, VIT_B):
            raise ConfigError(
                "expected rounds >= 1, frames >= 2 and shapes 'bundle' or 'vit-b', got "
                f"{self.rounds!r}, {self.frames!r} and {self.shapes!r}"
            )


def run_swaps(request: SwapRequest, *, command: str) -> BenchRecord:
    """Return the record of all candidates.

    Raises:
        SemlaError: No bundle, or no candidate can be opened.
    """
    with bundle_of(request.shapes, request.bundle) as bundle:
        folders = sorted(p for p in bundle.library.iterdir() if p.is_dir())[:_MOST_ADAPTERS]
        adapters = {folder.name: read_adapter(folder, name=folder.name) for folder in folders}
        bench = run_swap_bench(
            Material(bundle, adapters, request.threads),
            film().frames,
            rounds=request.rounds,
            count=request.frames,
            keys=request.keys or tuple(CANDIDATES),
            together=request.shapes != VIT_B,
        )
        name = bundle.manifest.name
    return swap_record(
        bench,
        title=f"Swapping adapters, side by side ({name})",
        rounds=request.rounds,
        count=request.frames,
        command=command,
    )
