"""Segmentation that keeps seeing when the world changes: SemLA's adapters, hot-loaded.

What a Python user needs is here, imported when it is asked for (docs/python.md has examples):

    open_bundle, ModelBundle            a model bundle and its library
    Config, build_pipeline              settings, and the pipeline that adapts
    Frame, read_image, read_frames      images, from memory, a file or a recording
    AdapterMix                          adapters in proportion, to choose by hand
    ReplayRequest, run_replay           a recording through the pipeline, with report
    SemlaError                          the base of every error that is raised on purpose

The package is ROS-free except for `semla_ros.nodes`. colcon installs the generated messages
(`semla_ros.msg`, `semla_ros.srv`) into a second folder of the same package name; extending the
path lets both a source tree and an installed overlay see them.
"""

from importlib import import_module
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"

_HOME = {
    "AdapterMix": "core.types",
    "Config": "core.config",
    "Frame": "core.types",
    "ModelBundle": "bundle",
    "ReplayRequest": "evaluation.run",
    "SemlaError": "core.errors",
    "build_pipeline": "pipeline",
    "open_bundle": "bundle",
    "read_frames": "data.bags.reader",
    "read_image": "core.files.image_file",
    "run_replay": "evaluation.run",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
