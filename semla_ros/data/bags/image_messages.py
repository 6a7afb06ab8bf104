"""Image messages from their bytes.

Image messages have been the same since ROS 1, so they are read with known definitions: a bag
whose other topics are exotic or damaged still gives its frames.
"""

from __future__ import annotations

import functools
from typing import Any

from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from semla_ros.data.bags.opening import guarded


def decoded(data: bytes, msgtype: str, *, ros1: bool = False) -> Any:  # noqa: ANN401  by rosbags
    """Return the message in `data`, fields by attribute; arrays are read-only views of `data`.

    Args:
        data: CDR with its encapsulation header, or ROS 1's format.
        msgtype: Type of ROS 2's or ROS 1's common interfaces.
        ros1: Which format.

    Raises:
        BagError: It holds no such message.
    """
    store, view = _store(ros1=ros1), memoryview(data)
    parse = store.deserialize_ros1 if ros1 else store.deserialize_cdr
    return guarded(lambda: parse(view, msgtype))


@functools.cache
def _store(*, ros1: bool) -> Typestore:
    return get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.LATEST)
