"""What makes two TensorRT plans the same plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semla_ros.bundle import file_sha256
from semla_ros.engine.tensorrt.options import BuildOptions, ClassRange
from semla_ros.errors import BundleError

SCHEMA = 1
"""Raise it when graphs are changed in another way before they are built, or sidecars differ."""


@dataclass(frozen=True, slots=True)
class Platform:
    """Where a plan was made; plans run nowhere else.

    Attributes:
        tensorrt: Version of TensorRT.
        gpu: Name of the GPU.
        compute_capability: Like `8.7`.
        driver: Major number of the CUDA version that the driver supports.
    """

    tensorrt: str
    gpu: str
    compute_capability: str
    driver: int


@dataclass(frozen=True, slots=True)
class PlanIdentity:
    """Everything a plan depends on.

    Attributes:
        graph: Which graph of the bundle, like `segmentation`.
        graph_sha256: Of the ONNX file and its external data.
        platform: Where.
        options: How.
    """

    graph: str
    graph_sha256: str
    platform: Platform
    options: BuildOptions

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the key is made from, as JSON holds it."""
        return {
            "schema": SCHEMA,
            "graph": self.graph,
            "graph_sha256": self.graph_sha256,
            "platform": asdict(self.platform),
            "options": asdict(self.options),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> PlanIdentity:
        """Return the identity that has these `facts`.

        Raises:
            LookupError, TypeError, ValueError, SemlaError: They are not those of this version.
        """
        if facts["schema"] != SCHEMA:
            raise ValueError(f"schema {facts['schema']!r}")
        options = {**facts["options"], "classes": ClassRange(**facts["options"]["classes"])}
        return cls(
            graph=facts["graph"],
            graph_sha256=facts["graph_sha256"],
            platform=Platform(**facts["platform"]),
            options=BuildOptions(**options),
        )

    @property
    def key(self) -> str:
        """Hex sha256 of the facts; equal plans have equal keys."""
        text = json.dumps(self.facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def graph_sha256(path: Path) -> str:
    """Return the hex sha256 of the graph `path` and, where it has some, of its external data.

    Raises:
        BundleError: There is no such file.
    """
    if not path.is_file():
        raise BundleError(
            f"expected the graph {path.name!r} in {str(path.parent)!r}, found none: "
            "copy the whole bundle again"
        )
    data = external_data(path)
    parts = [file_sha256(path), *([file_sha256(data)] if data.is_file() else [])]
    return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()


def external_data(path: Path) -> Path:
    """Return where a graph's tensors lie if they do not fit into its file."""
    return path.with_name(f"{path.name}.data")
