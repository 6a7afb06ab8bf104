"""What `semla tune` takes of what it found, each decision with a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from semla_ros.core.config import Config
from semla_ros.evaluation.analysis.mix_sweep import Choice, MixSweep
from semla_ros.evaluation.analysis.rerun import GateScore
from semla_ros.evaluation.analysis.thresholds import Threshold, Thresholds

MIN_GAIN = 0.3
"""Points of h-mean; what gains less than this on a sample is not worth leaving the bundle's."""


def take_retrieval(
    sweep: MixSweep,
    nulls: MixSweep,
    current: Choice,
    parameters: dict[str, float | int | str],
    why: list[str],
) -> None:
    """Take the best retrieval where it gains enough, and say why or why not."""
    best = nulls.best()
    now = next(s for s in sweep.scores if s.choice == current)
    gain = best.h_mean - now.h_mean
    tried = len({s.choice for s in (*sweep.scores, *nulls.scores)})
    if gain < MIN_GAIN:
        why.append(
            f"temperature {current.temperature:.4g}, top_k {current.top_k} and "
            f"{null_words(current)}, as now: the best of {tried} choices gains "
            f"{gain:.1f} points h-mean on {sweep.frames} sampled frames"
        )
        return
    choice = best.choice
    parameters |= {
        "temperature": choice.temperature,
        "top_k": choice.top_k,
        "distance": choice.distance,
        "null_distance": choice.null_distance,
    }
    why.append(
        f"{choice.distance}, temperature {choice.temperature:.4g}, top_k {choice.top_k} and "
        f"{null_words(choice)} gain {gain:.1f} points h-mean on {sweep.frames} sampled frames "
        "(chosen and measured on the same ones); the bundle's support calibration does not hold "
        "for them"
    )
    if choice.distance != current.distance:
        why.append(
            f"support reads LOW unless support_low is set, too: scores are 1/{choice.distance} "
            "now (a study with this distance and --false-alarms RATE set it)"
        )


def null_words(choice: Choice) -> str:
    """Return at what distance the base competes, in words."""
    null = choice.null_distance
    return f"a null adapter at {null:.4g}" if null > 0 else "no null adapter"


def take_gate(
    scores: Sequence[GateScore],
    choice: GateScore,
    config: Config,
    parameters: dict[str, float | int | str],
    why: list[str],
) -> None:
    """Take the chosen filter and trigger, and say what they change."""
    now = next(
        s
        for s in scores
        if (s.ema_time_s, s.swap_trigger) == (config.ema_time_s, config.swap_trigger)
    )
    share = config.swap_release / config.swap_trigger if config.swap_trigger > 0 else 0.5
    parameters |= {
        "ema_time_s": choice.ema_time_s,
        "swap_trigger": choice.swap_trigger,
        "swap_release": round(choice.swap_trigger * share, 6),
    }
    why.append(
        f"ema_time_s {choice.ema_time_s:g} and swap_trigger {choice.swap_trigger:g}: "
        f"{choice.swaps_per_1000:.1f} swaps per 1,000 frames and a mismatch of "
        f"{choice.mismatch:.3f}, against {now.swaps_per_1000:.1f} and {now.mismatch:.3f} before"
    )


def take_thresholds(
    found: Thresholds | None,
    false_alarms: float,
    parameters: dict[str, float | int | str],
    why: list[str],
) -> None:
    """Take the thresholds of the wished rate of false alarms; without a wish they stay."""
    if found is None:
        return
    now = found.now
    if not false_alarms:
        why.append(
            f"out_of_library {now.out_of_library:.4g} stays: {100 * now.false_alarms:.1f} % of "
            f"{found.known} frames of known domains pass it{_bound(now)} (--false-alarms RATE "
            "sets it)"
        )
        return
    taken = min(found.choices, key=lambda c: abs(c.false_alarms - false_alarms))
    parameters["out_of_library"] = round(taken.out_of_library, 6)
    parameters["support_low"] = max(round(taken.support_low, 6), 1e-6)  # 0: the bundle's
    why.append(
        f"out_of_library {taken.out_of_library:.4g} and support_low {taken.support_low:.4g}: "
        f"of {found.known} frames of known domains {100 * taken.held_out:.1f} % pass the first "
        f"where it is set without their recording or stretch{_bound(taken)}, "
        f"{100 * taken.false_alarms:.1f} % where it is set on them too, and "
        f"{100 * now.false_alarms:.1f} % passed before"
    )
    needed = (
        math.ceil(math.log(0.05) / math.log(1 - 2 * false_alarms)) if false_alarms < 0.5 else 1
    )
    if found.independent < needed:
        why.append(
            f"too few frames to be sure of that: neighbours in time resemble each other, these "
            f"are worth {found.independent:.0f} independent ones, and {needed} without a false "
            f"alarm would show a rate below {200 * false_alarms:.3g} %"
        )


def _bound(choice: Threshold) -> str:
    if math.isnan(choice.upper):
        return ""
    return f" (95 % sure: below {100 * choice.upper:.1f} %)"
