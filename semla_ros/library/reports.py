"""What the log says of a library as a whole."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from semla_ros.library.spread import StatisticsStore

_LOG = logging.getLogger(__name__)

_SHOWN = 8
"""Names in one line of the log."""


def report_silence(statistics: StatisticsStore, *, of: int) -> None:
    """Log which of `of` domains do not know their spread."""
    silent = statistics.silent
    if silent:
        _LOG.info(
            "%d of %d domains have no covariance (%s): %s",
            len(silent),
            of,
            _some(silent),
            "novelty takes the others' for theirs" if statistics.spread else "there is no novelty",
        )


def report_unsealed(names: Sequence[str], *, of: int) -> None:
    """Log that the adapters `names`, of `of`, serve without a seal."""
    if names:
        _LOG.warning(
            "%d of %d adapters are unsealed (%s): semla library seal, once you trust them",
            len(names),
            of,
            _some(names),
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join((*names[:_SHOWN], *("...",) * (len(names) > _SHOWN)))
