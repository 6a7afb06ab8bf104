"""A Ray cluster, for what several machines share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from semla_ros.core.errors import EngineUnavailableError

LOCAL = "local"
"""A cluster of this machine's processes, made for the run."""


@contextmanager
def ray_cluster(address: str, *, jobs: int) -> Iterator[Any]:
    """Yield Ray, connected; afterwards it is not any more.

    Args:
        address: `auto` or the address of a running cluster; `local` starts one here.
        jobs: Cores of a local one.

    Raises:
        EngineUnavailableError: Ray is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise EngineUnavailableError(
            "--ray needs Ray: pip install '.[cluster]', or use --jobs"
        ) from error
    local = address == LOCAL
    try:
        ray.init(
            address=None if local else address,
            num_cpus=max(jobs, 1) if local else None,
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineUnavailableError(
            f"no Ray cluster at {address!r}: {error}; start one (`ray start --head`) or use --jobs"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
