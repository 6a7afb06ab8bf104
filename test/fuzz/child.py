"""Feeds readers with damaged files inside bounds of memory and time; one process, many cases.

Where the process dies, the parent finds what it died of in the file that was being read. Findings
are written as lines of JSON.
"""

from __future__ import annotations

import argparse
import base64
import faulthandler
import json
import logging
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
from fuzz.documents import edited
from fuzz.mutation import mutated
from fuzz.readers import READERS, Reader
from hypothesis import HealthCheck, Phase, given, seed, settings

from semla_ros.core.errors import SemlaError

MEMORY_BYTES = 3 << 29
CASE_S = 30
REPORT = "report"
MAX_WORDS = 4000
_ROUND = 20
_EXHAUSTED = ("nsufficient memory", "bad_alloc", "Cannot allocate", "MemoryError", "out of memory")
_LIMITS = settings(
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def objection(reader: Reader, path: Path) -> str:
    """Return what is wrong with how `path` was read; empty: a value, or an error of ours."""
    signal.setitimer(signal.ITIMER_REAL, CASE_S)
    try:
        reader.read(path)
    except SemlaError as error:
        text = str(error)
        if "\n" in text or len(text) > MAX_WORDS:
            return f"a message of {len(text)} characters and more than a line: {text[:300]!r}"
        if any(words in text for words in _EXHAUSTED):
            return f"memory ran out: {text[:300]!r}"
        return ""
    except BaseException as error:  # noqa: BLE001  panics of libraries are no Exceptions
        where = "".join(traceback.format_tb(error.__traceback__)[-3:])
        return f"{type(error).__name__}: {str(error)[:300]} at\n{where}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return ""


def mutants(reader: Reader, contents: Any, number: int) -> Iterator[bytes]:
    """Yield damaged files without end; of a format of documents every other one parses."""
    rng = random.Random(number)
    while True:
        for _ in range(_ROUND):
            yield mutated(rng, contents, reader.words)
        if reader.dump is not None:
            yield from _documents(reader, contents, rng.getrandbits(32))


def _documents(reader: Reader, contents: Any, number: int, count: int = _ROUND) -> list[bytes]:
    found: list[bytes] = []
    dump = reader.dump
    assert dump is not None

    @seed(number)
    @settings(_LIMITS, max_examples=count)
    @given(edited(reader.documents(contents)))
    def collect(document: Any) -> None:
        found.append(dump(document))

    collect()
    return found


def main() -> None:
    """Run the readers named, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("readers", nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--only", type=Path, nargs="+", help="files to read, no mutants")
    args = parser.parse_args()
    faulthandler.enable()
    faulthandler.register(signal.SIGALRM, chain=True)
    logging.disable(logging.CRITICAL)
    cv2.setNumThreads(1)
    (args.work / "made").mkdir(parents=True, exist_ok=True)
    for name in args.readers:
        run(name, args)


def run(name: str, args: argparse.Namespace) -> None:
    """Feed one reader."""
    reader = READERS[name]
    folder = args.work / name
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # makers of seeds deprecate each other
        contents = reader.seeds(folder)
    path = folder / reader.file
    for content in contents:  # loads what is needed, and holds that whole files are read
        path.write_bytes(content)
        reader.read(path)
    warnings.simplefilter("error")
    limit_memory()
    cases = mutants(reader, contents, args.seed)
    if args.only:
        cases = iter([file.read_bytes() for file in args.only])
    end = time.monotonic() + args.seconds
    said: set[str] = set()
    count = 0
    for count, case in enumerate(cases, start=1):
        path.write_bytes(case)
        wrong = objection(reader, path)
        kind = "".join(c for c in wrong if not c.isdigit())[:200]
        if wrong and kind not in said:
            said.add(kind)
            report(args, "finding", name, wrong=wrong, case=base64.b64encode(case).decode())
        if count >= args.cases or time.monotonic() > end:
            break
    report(args, "done", name, count=count)


def limit_memory() -> None:
    """Let the process have `MEMORY_BYTES` of address space more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def report(args: argparse.Namespace, kind: str, name: str, **more: Any) -> None:
    """Tell the parent."""
    with (args.work / REPORT).open("a") as stream:
        stream.write(json.dumps({"kind": kind, "reader": name, **more}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
