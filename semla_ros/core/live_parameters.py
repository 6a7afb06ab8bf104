"""Which settings differ, and which of them a running pipeline can take over."""

from __future__ import annotations

from dataclasses import replace

from semla_ros.core.config import PARAMETERS, Config
from semla_ros.core.errors import ConfigError

_POLICY = tuple(spec.name for spec in PARAMETERS.values() if spec.decides == "policy")


def same_policy(one: Config, other: Config) -> bool:
    """Return whether both ask for the same swap policy, settings included."""
    return all(getattr(one, name) == getattr(other, name) for name in _POLICY)


def not_live(before: Config, after: Config) -> list[str]:
    """Return the parameters that differ and that a running pipeline cannot take over."""
    changed = [name for name in PARAMETERS if getattr(before, name) != getattr(after, name)]
    return [name for name in changed if not PARAMETERS[name].live]


def with_live_of(before: Config, after: Config) -> Config:
    """Return `before` with the live parameters of `after`."""
    live = [name for name, spec in PARAMETERS.items() if spec.live]
    return replace(before, **{name: getattr(after, name) for name in live})


def check_live(before: Config, after: Config) -> None:
    """Check that only live parameters differ.

    Raises:
        ConfigError: Another parameter differs; it is named.
    """
    names = not_live(before, after)
    if names:
        raise ConfigError(f"expected only live parameters to change, got {names!r}: restart")
