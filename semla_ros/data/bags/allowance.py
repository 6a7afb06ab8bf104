"""How much the packed parts of a recording may unpack to, all of them together."""

from __future__ import annotations

import bz2
from collections.abc import Callable

from lz4.frame import LZ4FrameDecompressor

from semla_ros.core.errors import BagError
from semla_ros.data.bags.mcap_records import MAX_CHUNK_BYTES

_FREE_BYTES = 1 << 30
_MAX_RATIO = 1000


class Allowance:
    """Counts down what one file may unpack to; with it a small file costs little time.

    Constant pictures pack a thousandfold.
    """

    def __init__(self, size: int) -> None:
        """Begin with what a file of `size` bytes may unpack to."""
        self._left = _FREE_BYTES + _MAX_RATIO * size

    def take(self, count: int) -> None:
        """Use `count` bytes of it.

        Raises:
            BagError: So many are not left.
        """
        self._left -= count
        if self._left < 0:
            raise BagError(
                f"its chunks unpack to more than {_FREE_BYTES} bytes and {_MAX_RATIO} times its "
                "size: refused"
            )


def unpack_ros1(data: bytes, compression: str) -> bytes:
    """Return a chunk of a ROS 1 bag.

    Raises:
        BagError: It is damaged, or unpacks to more than `MAX_CHUNK_BYTES`.
    """
    if compression not in _DECOMPRESSORS:
        return data
    try:
        content = _DECOMPRESSORS[compression](data, MAX_CHUNK_BYTES + 1)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise BagError(f"damaged chunk: {error}") from error
    if len(content) > MAX_CHUNK_BYTES:
        raise BagError(f"expected chunks of at most {MAX_CHUNK_BYTES} bytes, got more")
    return content


_DECOMPRESSORS: dict[str, Callable[[bytes, int], bytes]] = {
    "bz2": lambda data, limit: bz2.BZ2Decompressor().decompress(data, limit),
    "lz4": lambda data, limit: bytes(LZ4FrameDecompressor().decompress(data, limit)),
}
