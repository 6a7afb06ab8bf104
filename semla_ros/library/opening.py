"""The library of a bundle, as its commands open it."""

from __future__ import annotations

from semla_ros.bundle import ModelBundle
from semla_ros.library.library import AdapterLibrary


def open_library(bundle: ModelBundle) -> AdapterLibrary:
    """Return the library of `bundle`.

    Raises:
        LibraryError: It cannot be read.
    """
    navigator = bundle.manifest.navigator
    return AdapterLibrary.open(
        bundle.library,
        layers=bundle.manifest.layers,
        base_model=bundle.manifest.base_model,
        encoder=navigator.identity if navigator else None,
        dim=navigator.dim if navigator else None,
    )
