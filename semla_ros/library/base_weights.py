"""W0, where the library's users look for it; see `semla_ros.base_weights`."""

from semla_ros.base_weights import BaseWeights

__all__ = ["BaseWeights"]
