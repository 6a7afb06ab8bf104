"""Adapters that do not serve yet: trained beside the library, judged, then let in or kept out.

library/.quarantine/<name>/
bundle/        the bundle as it was, with a library of its own: the adapter is in it
data/          the labelled frames, linked: what was trained on, and what was held out
trained.key    of the adapter and what it was trained from; absent until it is whole
verdict.json   whether it pays and harms nobody, every number of it; absent until judged

library/.quarantine/.approved/<name>.json   the verdicts of those that were let in
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from semla_ros.bundle import ModelBundle
from semla_ros.core.errors import LibraryError
from semla_ros.core.files.checks import items, number, or_none, table, text
from semla_ros.core.files.lock import locked
from semla_ros.core.files.structured_text import checked_json
from semla_ros.core.files.whole_file import write_file
from semla_ros.library.storage import check_name
from semla_ros.prepare.adapters.changes import disk

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
        library: Of what it was held against, see `trial.library_key`.
        trials: Its own domain first.
        reasons: Why it may not; empty: it may.
        adapter: Of the files that were judged, see `trial.adapter_key`.
        left_out: Generated adapters, whose domains nobody has an image of to judge by.
    """

    name: str
    library: str
    trials: tuple[DomainTrial, ...]
    reasons: tuple[str, ...]
    adapter: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it pays and harms nobody."""
        return not self.reasons


def place_of(bundle: ModelBundle, name: str) -> Path:
    """Return the folder of an adapter in quarantine."""
    return bundle.library / FOLDER / check_name(name)


@contextmanager
def alone(bundle: ModelBundle) -> Iterator[None]:
    """Hold the quarantine: no other process trains, judges or lets in meanwhile.

    Raises:
        LibraryError: Another process holds it, or the disk refuses.
    """
    folder = bundle.library / FOLDER
    with disk(f"make {str(folder)!r}"):
        folder.mkdir(exist_ok=True)
    what = f"the loop of the library {str(bundle.library)!r}"
    with locked(folder / ".lock", error=LibraryError, what=what):
        yield


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
        value = checked_json(path, _CHECK, max_bytes=_MAX_BYTES)
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
    return Verdict(
        value["name"],
        value["library"],
        trials,
        tuple(value["reasons"]),
        value.get("adapter", ""),
        tuple(value.get("left_out", ())),
    )


def waiting(bundle: ModelBundle) -> tuple[str, ...]:
    """Return the adapters in quarantine that were judged."""
    folder = bundle.library / FOLDER
    return tuple(sorted(p.parent.name for p in folder.glob(f"[!.]*/{VERDICT}")))


def verdict_table(verdict: Verdict) -> Sequence[str]:
    """Return the trials as lines of a table, and what follows from them."""
    lines = [f"{'domain':24} {'frames':>6} {'before %':>8} {'after %':>8} {'weight %':>8}"]
    for each in verdict.trials:
        shown = (_percent(v) for v in (each.before, each.after, each.share))
        lines.append(f"{each.domain:24} {each.frames:6d} " + " ".join(f"{s:>8}" for s in shown))
    if verdict.left_out:
        lines.append(f"left out, as nobody has seen their domains: {', '.join(verdict.left_out)}")
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


_SCORE = or_none(number(0.0, 1.0))
_TRIAL = table(
    {
        "domain": text,
        "frames": number(0, 1e12),
        "before": _SCORE,
        "after": _SCORE,
        "share": _SCORE,
    }
)
_CHECK = table(
    {
        "name": text,
        "library": text,
        "trials": items(_TRIAL, 1, _MAX_ROWS),
        "reasons": items(lambda v, p: text(v, p, max_bytes=4000), 0, _MAX_ROWS),
    },
    {"adapter": text, "left_out": items(text, 0, _MAX_ROWS)},
)
