"""Plans on disk, and the way from a bundle's graph to an engine that was proven.

`<key>.plan` holds one line of JSON, the facts of its key and the sha256 of the rest, and the plan.
A plan is kept only after its answer was held against ONNX Runtime's on this machine: one that is
there has passed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from semla_ros.bundle import AS_TRAINED, ModelBundle, file_sha256
from semla_ros.core.engines import AUTO, F16
from semla_ros.core.errors import (
    BundleError,
    EngineError,
    EngineUnavailableError,
    PlanMissingError,
)
from semla_ros.core.files.structured_text import from_json
from semla_ros.core.files.whole_file import write_file
from semla_ros.engine.contract import Tell
from semla_ros.engine.tensorrt.toolkit import PlanRefusedError, Toolkit
from semla_ros.engine.weights import SEGMENTATION_GRAPH, layers_of

_LOG = logging.getLogger(__name__)

NAVIGATOR_GRAPH = "navigator"
INPUTS, REFIT, CONSTANT = "inputs", "refit", "constant"
"""What adaptable weights are in a plan: inputs of the network, or constants that can be refitted;
the navigator has none."""

IMAGE, TEXT, LOGITS, EMBEDDING = "image", "text_features", "logits", "embedding"
"""Names in the graphs."""

SCHEMA = 2
"""Raise it when graphs are changed in another way before they are built, or files differ."""

MAX_BYTES = 8 * 2**30
LEFTOVER_S = 3600.0
"""Writing a plan takes seconds; what is not whole after this never will be."""


class _Closable(Protocol):
    def close(self) -> None:
        """Release the engine and its toolkit; twice is allowed."""
        ...


Made = TypeVar("Made", bound=_Closable)


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """Which plan is wanted.

    Attributes:
        bundle: The model.
        graph: `segmentation` or `navigator`.
        mode: `inputs`, `refit` or `constant`.
        precision: f16 or f32.
        classes: Length of the class list, which is static.
    """

    bundle: ModelBundle
    graph: str
    mode: str
    precision: str
    classes: int = 1

    @classmethod
    def segmentation(cls, bundle: ModelBundle, mode: str, precision: str) -> PlanRequest:
        """Return the request for the bundle's class list; precision `auto` is f16."""
        chosen = F16 if precision == AUTO else precision
        return cls(bundle, SEGMENTATION_GRAPH, mode, chosen, len(bundle.manifest.vocabulary.names))

    @property
    def path(self) -> Path:
        """The graph's file."""
        bundle = self.bundle
        navigator = self.graph == NAVIGATOR_GRAPH
        return bundle.navigator_graph if navigator else bundle.segmentation_graph

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the adaptable weights in the graph."""
        layers = layers_of(self.bundle, self.graph).values()
        return tuple(layer.initializer for layer in layers)

    @property
    def has_tap(self) -> bool:
        """Whether the second tap is an input."""
        trained = self.bundle.manifest.adapter_guidance == AS_TRAINED
        return trained and self.graph == SEGMENTATION_GRAPH

    def facts(self, platform: Mapping[str, str]) -> Mapping[str, Any]:
        """Return everything a plan depends on; equal plans have equal facts."""
        return {
            "schema": SCHEMA,
            "graph": self.graph,
            "graph_sha256": graph_sha256(self.path),
            **platform,
            "mode": self.mode,
            "precision": self.precision,
            "classes": self.classes,
            "weights": list(self.weights),
            "has_tap": self.has_tap,
        }


def plan_identity(toolkit: Toolkit, plan: bytes) -> str:
    """Return what the last bits of an engine's answers depend on."""
    where, digest = toolkit.platform, hashlib.sha256(plan).hexdigest()
    return f"{where['tensorrt']} {where['gpu']} {digest[:16]}"


def plan_folder() -> Path:
    """Return the folder for plans: `$XDG_CACHE_HOME` or `~/.cache`, `semla_ros/tensorrt`."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root else Path.home() / ".cache") / "semla_ros" / "tensorrt"


def plan_path(facts: Mapping[str, Any]) -> Path:
    """Return where the plan with these facts lies."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return plan_folder() / f"{hashlib.sha256(text.encode()).hexdigest()}.plan"


def load_plan(facts: Mapping[str, Any]) -> bytes | None:
    """Return the plan with these facts, None where there is none that can be believed."""
    path = plan_path(facts)
    if not path.is_file():
        return None
    try:
        line, _, plan = path.read_bytes().partition(b"\n")
        known = from_json(line)
        sound = known == {"facts": facts, "sha256": hashlib.sha256(plan).hexdigest()}
    except (OSError, ValueError):
        sound = False
    if not sound:
        _LOG.warning("plan %s is damaged and not used", path.name)
        drop_plan(facts)
        return None
    with suppress(OSError):
        os.utime(path)
    return plan


def store_plan(facts: Mapping[str, Any], plan: bytes) -> Path:
    """Keep `plan`, whole or not at all; what crashes left goes, and old plans for room.

    Raises:
        EngineError: The folder cannot be written.
    """
    header = json.dumps({"facts": facts, "sha256": hashlib.sha256(plan).hexdigest()})
    path = write_file(plan_path(facts), header.encode() + b"\n" + plan, error=EngineError)
    now = time.time()
    for unfinished in path.parent.glob(".*.partial"):
        with suppress(OSError):
            if unfinished.stat().st_mtime < now - LEFTOVER_S:
                unfinished.unlink()
    _make_room(keep=path)
    return path


def drop_plan(facts: Mapping[str, Any]) -> None:
    """Remove the plan with these facts; one that is not there is fine."""
    with suppress(OSError):
        plan_path(facts).unlink()


def _make_room(*, keep: Path) -> None:
    """Remove the plans used longest ago while there are more than `MAX_BYTES`."""
    plans: list[tuple[float, int, Path]] = []
    for path in keep.parent.glob("*.plan"):
        with suppress(OSError):  # another process may have removed it
            found = path.stat()
            plans.append((found.st_mtime, found.st_size, path))
    total = sum(size for _, size, _ in plans)
    for _, size, path in sorted(plans):
        if total > MAX_BYTES and path != keep:
            path.unlink(missing_ok=True)
            total -= size


def opened(
    wanted: PlanRequest,
    make: Callable[[Toolkit, bytes], Made],
    prove: Callable[[Made], object],
    *,
    build: bool,
    again: bool = False,
    tell: Tell | None = None,
) -> Made:
    """Return what `make` makes of the wanted plan, which is built where that is allowed.

    Args:
        wanted: The plan.
        make: Opens an engine of the plan; it then owns the toolkit.
        prove: Raises unless an engine of a new plan answers as it should.
        build: Build a plan where none is kept; minutes.
        again: Build it even if one is kept.
        tell: Told how far a build is.

    Raises:
        PlanMissingError: A plan is all that is missing.
        EngineUnavailableError: Package, driver or GPU is missing, the plan cannot be built, or it
            answers something else than ONNX Runtime.
        BundleError: The bundle does not hold what it should.
    """
    toolkit = Toolkit.open()
    try:
        facts = wanted.facts(toolkit.platform)
        kept = None if again else _of_kept(facts, make, toolkit)
        if kept is not None:
            return kept
        if not build:
            raise _missing(wanted, facts)  # noqa: TRY301  the toolkit is closed below
        return _built(wanted, facts, make, prove, toolkit, tell)
    except BaseException as error:
        toolkit.cuda.close()
        if isinstance(error, EngineError) and not isinstance(error, EngineUnavailableError):
            raise EngineUnavailableError(f"TensorRT: {error}; or take engine 'onnx'") from error
        raise


def _of_kept(
    facts: Mapping[str, Any], make: Callable[[Toolkit, bytes], Made], toolkit: Toolkit
) -> Made | None:
    """Return what `make` makes of the plan that is kept, None where there is none."""
    plan = load_plan(facts)
    if plan is None:
        return None
    try:
        return make(toolkit, plan)
    except PlanRefusedError as error:
        _LOG.warning("%s", error)
        drop_plan(facts)
        return None


def _missing(wanted: PlanRequest, facts: Mapping[str, Any]) -> PlanMissingError:
    return PlanMissingError(
        f"TensorRT: expected a plan of {wanted.graph} for {facts['gpu']} in {wanted.precision} "
        f"that was proven here, found none in {str(plan_folder())!r}: `semla engine build "
        f"{wanted.bundle.root}`, or take engine 'onnx'"
    )


def _built(
    wanted: PlanRequest,
    facts: Mapping[str, Any],
    make: Callable[[Toolkit, bytes], Made],
    prove: Callable[[Made], object],
    toolkit: Toolkit,
    tell: Tell | None,
) -> Made:
    """Return what `make` makes of a new plan, which is kept because it was proven."""
    from semla_ros.engine.tensorrt.build import build_plan

    plan = build_plan(wanted, toolkit, tell)
    made = make(toolkit, plan)
    try:
        prove(made)
        path = store_plan(facts, plan)
    except BaseException:
        made.close()
        raise
    _LOG.info("kept %s: %.1f MB", path, len(plan) * 1e-6)
    return made


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
