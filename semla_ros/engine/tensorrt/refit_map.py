"""Checks that an engine's refittable weights are exactly ours, and which type each wants."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from semla_ros.errors import EngineError
from semla_ros.manifest import GraphWeight

DTYPES: Mapping[str, npt.DTypeLike] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT32": np.int32,
    "INT64": np.int64,
}
"""Name of TensorRT's DataType -> numpy; `tensorrt.nptype` of 8.x fails with numpy 1.24."""


@dataclass(frozen=True, slots=True)
class Prototype:
    """What an engine wants for one weight: name of the DataType, number of values."""

    dtype: str
    count: int


def refit_dtypes(
    layers: Mapping[str, GraphWeight],
    *,
    refittable: Collection[str],
    prototypes: Mapping[str, Prototype],
    only_ours: bool,
) -> dict[str, npt.DTypeLike]:
    """Return layer name -> the dtype its weight must have.

    Args:
        layers: Adaptable layers.
        refittable: `Refitter.get_all_weights()`.
        prototypes: By initializer; a TensorRT that does not tell (before 10.0) refits with FP32,
            whatever the layer computes in.
        only_ours: Nothing else may be refittable (REFIT_INDIVIDUAL).

    Raises:
        EngineError: Names, types or sizes are not those that were marked.
    """
    names = {layer.initializer for layer in layers.values()}
    missing, foreign = names - set(refittable), set(refittable) - names
    if missing or (only_ours and foreign):
        raise EngineError(
            f"the plan's refittable weights are not the bundle's: missing {_some(missing)}, "
            f"unexpected {_some(foreign)}: build it again with `semla engine build`"
        )
    wanted: dict[str, npt.DTypeLike] = {}
    for name, layer in layers.items():
        count = layer.shape[0] * layer.shape[1]
        prototype = prototypes.get(layer.initializer, Prototype("FLOAT", count))
        if prototype.count != count or prototype.dtype not in ("FLOAT", "HALF"):
            raise EngineError(
                f"weight {layer.initializer!r}: expected {count} values of FLOAT or HALF, the "
                f"plan wants {prototype.count} of {prototype.dtype}: build it again"
            )
        wanted[name] = DTYPES[prototype.dtype]
    return wanted


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:3]
    return f"{len(names)} {shown!r}" if names else "none"
