"""What a planner needs of each fault, as predicates over its trial; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from semla_ros.bench.drill.heard import LEVELS, SERVING, WARN
from semla_ros.bench.drill.trial import Trial, lies, raised, recovery_s, wrong_masks

_NS = 1e-9
_SETTLE_S = 1.5


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that must be so: in words, and as a test that returns what is not, or nothing."""

    text: str
    problem: Callable[[Trial], str]


def _several(found: Iterable[str]) -> str:
    counts = Counter(found)
    return "; ".join(f"{n} times {text}" for text, n in counts.most_common(3))


def _fresh(trial: Trial) -> str:
    found: dict[str, list[float]] = {}
    for lie in lies(trial):
        found.setdefault(lie.text, []).append(lie.age_s)
    told = (f"{len(ages)} times {t}, up to {max(ages):.1f} s" for t, ages in found.items())
    return "; ".join(told)


def _recovered(trial: Trial) -> str:
    if recovery_s(trial) is not None:
        return ""
    last = trial.heard.between(trial.end, trial.until).last()
    bad = [
        f"{part} {LEVELS[d.level]}: {d.message}"
        for part, d in last.items()
        if part not in trial.before or d.level > trial.before[part].level
    ]
    return f"not as before after {(trial.until - trial.end) * _NS:.0f} s: " + (
        "; ".join(bad) or "masks, support or diagnostics do not come"
    )


ALWAYS = (
    Expectation("the process lives", lambda t: t.ended),
    Expectation("no wrong mask", lambda t: _several(wrong_masks(t))),
    Expectation("nothing old called fresh", _fresh),
    Expectation("recovers by itself", _recovered),
)
"""What must be so whatever happens."""


def tells(*parts: str, least: int = WARN, words: Iterable[str] = ()) -> Expectation:
    """Expect one of `parts` (none: any) to rise to `least`, one of `words` in its message."""
    wanted, where = tuple(words), " or ".join(parts) or "any part"

    def problem(trial: Trial) -> str:
        for each in raised(trial):
            told = each.message.casefold()
            said = not wanted or any(word in told for word in wanted)
            if (not parts or each.part in parts) and each.level >= least and said:
                return ""
        return f"{where} does not say so"

    text = f"diagnostics: {where} {LEVELS[least]}"
    return Expectation(text + (f", naming {' or '.join(wanted)}" if wanted else ""), problem)


def counts(part: str, *keys: str) -> Expectation:
    """Expect a counter of `part` with one of `keys` in its name to have risen."""

    def problem(trial: Trial) -> str:
        now = trial.window.last().get(part)
        before = trial.before[part].facts if part in trial.before else {}
        for key, value in (now.facts if now else {}).items():
            if any(k in key for k in keys) and _number(value) > _number(before.get(key, "0")):
                return ""
        return f"no counter of {part} named like {' or '.join(keys)} rose"

    return Expectation(f"diagnostics: {part} counts them", problem)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def either(*ways: Expectation, text: str) -> Expectation:
    """Expect at least one of `ways`."""

    def problem(trial: Trial) -> str:
        found = [way.problem(trial) for way in ways]
        return "" if "" in found else "; ".join(found)

    return Expectation(text, problem)


def goes_on(share: float = 0.3) -> Expectation:
    """Expect masks for at least this share of the good images."""

    def problem(trial: Trial) -> str:
        good = sum(not s.broken for s in trial.during.sent)
        got = len(trial.during.masks)
        return "" if got >= max(1.0, share * good) else f"{got} masks of {good} good images"

    return Expectation("masks of good images go on", problem)


def goes_stale(within_s: float = 2.5) -> Expectation:
    """Expect that support is STALE, and nothing else, from so long after the beginning on."""

    def problem(trial: Trial) -> str:
        since = trial.begin + round(within_s * 1e9)
        levels = Counter(s.level for s in trial.during.supports if s.at > since)
        if not levels["STALE"]:
            return "never STALE"
        wrong = {level: n for level, n in levels.items() if level in SERVING}
        return f"still {wrong}" if wrong else ""

    return Expectation(f"support STALE after {within_s:g} s", problem)


def silent() -> Expectation:
    """Expect no mask once what was on its way has arrived."""

    def problem(trial: Trial) -> str:
        since = trial.begin + round(_SETTLE_S * 1e9)
        got = [m for m in trial.during.masks if m.at > since]
        return f"{len(got)} masks" if got else ""

    return Expectation("no masks", problem)


def adapts() -> Expectation:
    """Expect a swap while the fault lasts: the scene changes meanwhile."""

    def problem(trial: Trial) -> str:
        return "" if any(s.committed for s in trial.during.swaps) else "no swap"

    return Expectation("goes on adapting", problem)


def newest(lag_s: float) -> Expectation:
    """Expect no mask to come later than so long after its image."""

    def problem(trial: Trial) -> str:
        sent = trial.by_stamp
        lags = [m.at - sent[m.stamp].at for m in trial.during.masks if m.stamp in sent]
        worst = max(lags, default=0) * _NS
        return f"a mask {worst:.1f} s late" if worst > lag_s else ""

    return Expectation(f"no mask later than {lag_s:g} s", problem)


def answers(name: str, *, success: bool, words: Iterable[str] = ()) -> Expectation:
    """Expect the order that the fault's script called `name` to be answered so."""
    wanted = tuple(words)

    def problem(trial: Trial) -> str:
        answer = trial.answers.get(name)
        if answer is None or answer.success is None:
            return f"{name}: no answer"
        if answer.success != success:
            return f"{name}: {'accepted' if answer.success else f'refused: {answer.message}'}"
        said = not wanted or any(word in answer.message.casefold() for word in wanted)
        return "" if said else f"{name}: the answer {answer.message!r} does not say why"

    return Expectation(f"{name} {'succeeds' if success else 'is refused'}", problem)


def sees(name: str, value: str, text: str) -> Expectation:
    """Expect the fact that the fault's script noted as `name` to be `value`."""

    def problem(trial: Trial) -> str:
        got = trial.facts.get(name, "nothing")
        return "" if got == value else f"{name}: expected {value!r}, got {got!r}"

    return Expectation(text, problem)


def problems(trial: Trial, expectations: Iterable[Expectation]) -> list[str]:
    """Return what is not as it should be, in the order of `ALWAYS` and `expectations`."""
    found = ((each.text, each.problem(trial)) for each in (*ALWAYS, *expectations))
    return [f"{text}: {problem}" for text, problem in found if problem]
