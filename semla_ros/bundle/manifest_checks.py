"""What every value of `bundle.yaml` may be: one table, walked before anything is made of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

from semla_ros.core.config import PARAMETERS
from semla_ros.core.files.checks import (
    MAX_NAME_BYTES,
    Check,
    boolean,
    integer,
    items,
    mapping,
    number,
    one_of,
    or_none,
    table,
    text,
    unfit,
)
from semla_ros.core.types import MAX_CLASSES

RESIZES = ("center_crop", "eval_crop", "letterbox", "squash")
"""How a navigator may squash its image, see `navigator.preprocess`."""
GUIDANCES = ("as_base", "as_trained")
FAMILIES = ("catseg", "transformers")
ACTIVATIONS = ("sigmoid", "softmax", "scores")
GRAPHS = ("segmentation", "text")
MAX_SIDE, MAX_CONTEXT, MAX_DIM, MAX_NUMBER = 8192, 4096, 65_536, 1_000_000
MAX_LAYERS, MAX_ALIASES, MAX_BASE_NAMES = 100_000, 8, 100

_DIGEST = re.compile(r"[0-9a-f]{64}")


def template(value: object, path: str) -> None:
    """Accept a prompt with one `{}`."""
    text(value, path, max_bytes=4 * MAX_NAME_BYTES)
    if str(value).count("{}") != 1:
        raise unfit(path, "text with one '{}'", value)


def digest(value: object, path: str) -> None:
    """Accept a sha256 in hexadecimal."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise unfit(path, "a sha256 of 64 hexadecimal digits", value)


def calibration(value: object, path: str) -> None:
    """Accept a calibration; one of an earlier form is left aside later, so its values are free."""
    if not isinstance(value, Mapping) or "support" not in value:
        _CALIBRATION(value, path)


def classes(value: object, path: str) -> None:
    """Accept a class list, its ids in order where they are given."""
    _CLASSES(value, path)
    for index, each in enumerate(value if isinstance(value, list) else ()):
        if each.get("id", index) != index:
            raise unfit(f"{path}[{index}].id", f"{index}, as the list's order says", each["id"])


def layers(value: object, path: str) -> None:
    """Accept the layers; each name means one of them, and a kernel fills its row."""
    _LAYERS(value, path)
    names: set[str] = set()
    for index, each in enumerate(value if isinstance(value, list) else ()):
        where = f"{path}[{index}]"
        kernel, inner = each.get("kernel", ()), each["shape"][1]
        if kernel and (math.prod(kernel) != inner or each["transposed"]):
            raise unfit(f"{where}.kernel", f"a product of {inner}, not transposed", kernel)
        for name in (each["name"], *each.get("aliases", ())):
            if name in names:
                raise unfit(f"{where}.aliases", "names that mean one layer", name)
            names.add(name)


def _choices(parameter: str) -> Check:
    return one_of(*(c for c in PARAMETERS[parameter].choices if c != "bundle"))


_ANY = number(-MAX_NUMBER, MAX_NUMBER)
_POSITIVE = number(0, MAX_NUMBER, above=True)
_SHARE, _SHARE_OR_NAN = number(0, 1), number(0, 1, unknown=True)
_RETRIEVAL: Mapping[str, Check] = MappingProxyType(
    {
        "temperature": _POSITIVE,
        "top_k": integer(1, 1000),
        "distance": _choices("distance"),
        "similarity": _choices("similarity"),
        "null_distance": number(-1, MAX_NUMBER),
    }
)
_CALIBRATION = table(
    {
        "terms": items(
            table(
                {"name": text, "scale": _POSITIVE}
                | dict.fromkeys(("mean", "coefficient", "low", "high"), _ANY)
            ),
            1,
            100,
        ),
        "intercept": _ANY,
        "offset": number(0, MAX_NUMBER),
        "target": _SHARE,
        "coverage": _SHARE_OR_NAN,
        "worst_coverage": _SHARE_OR_NAN,
        "error": _SHARE_OR_NAN,
        "errors": mapping(text, _SHARE_OR_NAN),
        "frames": integer(0, 10**12),
        "domains": items(text, 0, MAX_LAYERS),
        "settings": table(_RETRIEVAL),
        "made_by": text,
    }
)
_CLASSES = items(
    table(
        {"name": text, "rgb": items(integer(0, 255), 3, 3)},
        {"id": integer(0, MAX_CLASSES - 1)},
        others=True,
    ),
    1,
    MAX_CLASSES,
)
_LAYERS = items(
    table(
        {
            "name": text,
            "parameter": text,
            "graph": one_of(*GRAPHS),
            "initializer": text,
            "transposed": boolean,
            "shape": items(integer(1, MAX_NUMBER), 2, 2),
        },
        {"kernel": items(integer(1, MAX_NUMBER), 3, 3), "aliases": items(text, 0, MAX_ALIASES)},
    ),
    1,
    MAX_LAYERS,
    distinct="name",
)
check_manifest = table(
    {
        "name": text,
        "family": one_of(*FAMILIES),
        "base_model": text,
        "segmentation": table(
            {"size": integer(1, MAX_SIDE)},
            {
                "crop_size": integer(0, MAX_SIDE),
                "max_classes": integer(1, MAX_CLASSES),
                "class_pooling": integer(1, MAX_SIDE),
                "width": integer(0, MAX_SIDE),
                "activation": one_of(*ACTIVATIONS),
            },
        ),
        "text": or_none(table({"template": template, "context_length": integer(1, MAX_CONTEXT)})),
        "defaults": table(
            {
                **_RETRIEVAL,
                "support_low": number(0, MAX_NUMBER),
                "out_of_library": number(0, MAX_NUMBER),
            },
            {"text_temperature": _POSITIVE},
        ),
        "classes": classes,
        "layers": layers,
        "files": mapping(text, digest),
    },
    {
        "adapter_guidance": one_of(*GUIDANCES),
        "base_names": items(text, 0, MAX_BASE_NAMES),
        "calibration": or_none(calibration),
        "navigator": or_none(
            table(
                {
                    "identity": text,
                    "size": integer(1, MAX_SIDE),
                    "resize": one_of(*RESIZES),
                    "mean": items(_ANY, 3, 3),
                    "std": items(_POSITIVE, 3, 3),
                    "dim": integer(1, MAX_DIM),
                },
                {"width": integer(0, MAX_SIDE), "shared": boolean},
            )
        ),
    },
    others=True,
)
"""Raises ValueError where a value of a manifest has the wrong type or lies out of range."""
