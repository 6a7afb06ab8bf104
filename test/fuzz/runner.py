"""Runs `fuzz.child` and gathers what it finds; a reader that kills it does not stop the others."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzz.readers import READERS

TEST = Path(__file__).parents[1]
CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Finding:
    """A file that was read in another way than to a value or an error of ours."""

    reader: str
    wrong: str
    case: bytes


@dataclass(frozen=True)
class Outcome:
    """What running readers found, and how many cases each had."""

    findings: tuple[Finding, ...]
    counts: dict[str, int]


def in_memory() -> Path | None:
    """Return a folder that is no disk, where there is one: each case is a file."""
    folder = Path("/dev/shm")
    return folder if os.access(folder, os.W_OK) else None


def fuzz(readers: Sequence[str], work: Path, *options: str) -> Outcome:
    """Run `readers` in children until each is done or dead.

    Args:
        readers: Names in `READERS`.
        work: An empty folder.
        options: Of `fuzz.child`.
    """
    left, findings, counts = list(readers), list[Finding](), dict[str, int]()
    for attempt in range(len(readers)):
        folder = work / str(attempt)
        folder.mkdir(parents=True)
        lines, death = _child(folder, left, options)
        for line in lines:
            if line["kind"] == "finding":
                case = base64.b64decode(line["case"])
                findings.append(Finding(line["reader"], line["wrong"], case))
            elif line["kind"] == "done":
                counts[line["reader"]] = line["count"]
                left.remove(line["reader"])
        if not left:
            return Outcome(tuple(findings), counts)
        case = folder / left[0] / READERS[left[0]].file
        findings.append(Finding(left[0], death, case.read_bytes() if case.is_file() else b""))
        counts[left[0]] = 0
        del left[0]
    return Outcome(tuple(findings), counts)


def _child(folder: Path, readers: Sequence[str], options: Sequence[str]) -> tuple[list, str]:
    """Return the lines of one child, and how it ended where it did not end well."""
    paths = os.pathsep.join((str(TEST.parent), str(TEST), os.environ.get("PYTHONPATH", "")))
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    quiet |= {"TOKENIZERS_PARALLELISM": "false", "RUST_BACKTRACE": "0", "PYTHONPATH": paths}
    command = [sys.executable, "-m", "fuzz.child", str(folder), *readers, *options]
    with (folder / "log").open("wb") as log:
        child = subprocess.run(
            command, env=os.environ | quiet, stdout=log, stderr=log, check=False
        )
    told = folder / "report"
    lines = [json.loads(line) for line in told.read_text().splitlines()] if told.is_file() else []
    words = (folder / "log").read_text(errors="replace")[-1500:]
    return lines, f"the process ended with {child.returncode}: {words}"
