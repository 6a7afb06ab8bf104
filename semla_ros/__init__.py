"""Segmentation that keeps seeing when the world changes: SemLA's adapters, hot-loaded.

The package is ROS-free except for `semla_ros.nodes`. colcon installs the generated messages
(`semla_ros.msg`, `semla_ros.srv`) into a second folder of the same package name; extending the
path lets both a source tree and an installed overlay see them.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"
