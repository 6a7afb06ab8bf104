"""Adapters that do not serve yet: trained beside the library, judged, then let in or kept out.

library/.quarantine/<name>/
bundle/        the bundle as it was, linked, with a library of its own: the adapter is in it
data/          the labelled frames, linked: what was trained on, and what was held out
verdict.json   whether it pays and harms nobody, every number of it; absent until judged
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from semla_ros.bundle import ModelBundle, open_bundle
from semla_ros.core.errors import LibraryError
from semla_ros.core.files.checks import items, number, table, text
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.files.whole_file import write_file
from semla_ros.data.captures.record import sha256_of
from semla_ros.library.library import AdapterLibrary
from semla_ros.library.storage import check_name
from semla_ros.prepare.adapters.changes import add_adapter
from semla_ros.prepare.adapters.history import changing, contents

FOLDER, VERDICT = ".quarantine", "verdict.json"
_MAX_BYTES = 10_000_000
_MAX_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class DomainTrial:
    """What an adapter does to one domain.

    Attributes:
        domain: Its name.
        frames: Labelled frames, 0 without any.
        before, after: mIoU of what retrieval serves without and with the adapter; NaN unknown.
        share: Mean weight of the adapter in the mixes of the domain's own embeddings; NaN unknown.
    """

    domain: str
    frames: int
    before: float = math.nan
    after: float = math.nan
    share: float = math.nan


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an adapter may serve.

    Attributes:
        name: The adapter.
        library: Of the library it was held against, changes with every file of it.
        trials: Its own domain first.
        reasons: Why it may not; empty: it may.
    """

    name: str
    library: str
    trials: tuple[DomainTrial, ...]
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether it pays and harms nobody."""
        return not self.reasons


def library_key(library: Path) -> str:
    """Return a key of all that lies in a library."""
    return sha256_of(json.dumps(contents(library), sort_keys=True).encode())


def place_of(bundle: ModelBundle, name: str) -> Path:
    """Return the folder of an adapter in quarantine."""
    return bundle.library / FOLDER / check_name(name)


def trial_bundle(bundle: ModelBundle, name: str) -> ModelBundle:
    """Return a bundle of linked files in quarantine, with the library as it is now.

    What an interrupted training left there stays.

    Raises:
        LibraryError: The disk refuses.
    """
    root = place_of(bundle, name) / "bundle"
    library = root / "library"
    try:
        library.mkdir(parents=True, exist_ok=True)
        for old in library.iterdir():
            if old.is_dir() and not old.name.startswith("."):
                shutil.rmtree(old)
        for source in bundle.root.iterdir():
            if source.is_file() and not source.name.startswith("."):
                link(source, root / source.name)
        for domain, files in contents(bundle.library).items():
            for file in files:
                link(bundle.library / domain / file, library / domain / file)
    except OSError as error:
        raise LibraryError(f"cannot prepare {str(root)!r}: {error}") from error
    return open_bundle(root, verify=False)


def link(source: Path, target: Path) -> None:
    """Make `target` the file `source`, without a copy where the disk can do that."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def write_verdict(bundle: ModelBundle, verdict: Verdict) -> Path:
    """Write what was found beside the adapter.

    Raises:
        LibraryError: The disk refuses.
    """
    value = asdict(verdict) | {"trials": [_plain(trial) for trial in verdict.trials]}
    content = (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    return write_file(place_of(bundle, verdict.name) / VERDICT, content, error=LibraryError)


def read_verdict(bundle: ModelBundle, name: str) -> Verdict:
    """Return what was found of an adapter in quarantine.

    Raises:
        LibraryError: There is none of that name, it was not judged, or the file is damaged.
    """
    path = place_of(bundle, name) / VERDICT
    if not path.is_file():
        raise LibraryError(
            f"expected an adapter in quarantine of {list(waiting(bundle))!r}, got {name!r}: "
            "semla loop train"
        )
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"expected at most {_MAX_BYTES} bytes")  # noqa: TRY301
        value = from_json(path.read_bytes())
        _CHECK(value, "")
    except (OSError, ValueError) as error:
        raise LibraryError(f"{str(path)!r} is damaged ({error}): train it again") from error
    trials = tuple(
        DomainTrial(
            each["domain"],
            int(each["frames"]),
            *(math.nan if each[k] is None else each[k] for k in ("before", "after", "share")),
        )
        for each in value["trials"]
    )
    return Verdict(value["name"], value["library"], trials, tuple(value["reasons"]))


def waiting(bundle: ModelBundle) -> tuple[str, ...]:
    """Return the adapters in quarantine that were judged."""
    folder = bundle.library / FOLDER
    return tuple(sorted(p.parent.name for p in folder.glob(f"*/{VERDICT}")))


def release(bundle: ModelBundle, name: str) -> Path:
    """Let an adapter into the library and empty its place in quarantine; return its folder.

    Raises:
        LibraryError: It did not pass, was held against another library than this, or cannot be
            added.
    """
    verdict = read_verdict(bundle, name)
    made = place_of(bundle, name) / "bundle" / "library" / name
    if not verdict.passed:
        raise LibraryError(
            f"adapter {name!r} stays in quarantine: {'; '.join(verdict.reasons)}: to use it all "
            f"the same: semla library add {bundle.root} {made}"
        )
    if library_key(bundle.library) != verdict.library:
        raise LibraryError(
            f"adapter {name!r} was held against another library than lies there now: run "
            "`semla loop train` again"
        )
    with changing(bundle.library, f"let in {name}"):
        add_adapter(AdapterLibrary.of(bundle), made, name)
    shutil.rmtree(place_of(bundle, name), ignore_errors=True)
    return bundle.library / name


def verdict_table(verdict: Verdict) -> Sequence[str]:
    """Return the trials as lines of a table, and what follows from them."""
    lines = [f"{'domain':24} {'frames':>6} {'before %':>8} {'after %':>8} {'weight %':>8}"]
    for each in verdict.trials:
        shown = (_percent(v) for v in (each.before, each.after, each.share))
        lines.append(f"{each.domain:24} {each.frames:6d} " + " ".join(f"{s:>8}" for s in shown))
    if verdict.passed:
        return [*lines, f"{verdict.name} pays and harms nobody{_limit(verdict)}"]
    return [*lines, *(f"{verdict.name} stays in quarantine: {why}" for why in verdict.reasons)]


def _limit(verdict: Verdict) -> str:
    """Return what a verdict that passed rests on alone, empty where frames speak for all."""
    guessed = [trial.domain for trial in verdict.trials[1:] if not trial.frames]
    if not guessed:
        return ""
    return (
        f", as far as kept embeddings tell of {', '.join(guessed)}: their masks in new weather, "
        "and while one mix follows another, were not seen (--others)"
    )


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _plain(trial: DomainTrial) -> dict[str, object]:
    found: dict[str, object] = asdict(trial)
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in found.items()}


def _maybe(value: object, path: str) -> None:
    if value is not None:
        number(0.0, 1.0)(value, path)


_TRIAL = table(
    {
        "domain": text,
        "frames": number(0, 1e12),
        "before": _maybe,
        "after": _maybe,
        "share": _maybe,
    }
)
_CHECK = table(
    {
        "name": text,
        "library": text,
        "trials": items(_TRIAL, 1, _MAX_ROWS),
        "reasons": items(lambda v, p: text(v, p, max_bytes=4000), 0, _MAX_ROWS),
    }
)
