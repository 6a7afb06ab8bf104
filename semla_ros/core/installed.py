"""Versions of what can change a result."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from semla_ros import __version__


def versions_of(components: Sequence[str]) -> dict[str, str]:
    """Return name -> version of this package, Python, the `components` there are, the machine."""
    found = {"semla_ros": __version__, "python": platform.python_version()}
    for name in components:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"machine": f"{platform.system()} {platform.machine()}"}
