"""The plan of a bundle's graph: from the cache, or built where that is allowed."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from semla_ros.bundle import ModelBundle
from semla_ros.engine.tensorrt.build import Progress, build
from semla_ros.engine.tensorrt.options import BuildOptions
from semla_ros.engine.tensorrt.plan_cache import CachedPlan, Golden, PlanCache
from semla_ros.engine.tensorrt.plan_key import PlanIdentity, graph_sha256
from semla_ros.engine.tensorrt.toolkit import Toolkit
from semla_ros.errors import EngineUnavailableError
from semla_ros.manifest import GraphWeight

_LOG = logging.getLogger(__name__)

SEGMENTATION, NAVIGATOR = "segmentation", "navigator"


@dataclass(frozen=True, slots=True)
class Order:
    """Which plan is wanted, and what it takes to build it.

    Attributes:
        bundle: The model.
        graph: `segmentation` or `navigator`.
        layers: Its adaptable layers by name.
        options: How.
        goldens: Asks the reference; slow, only called when building.
    """

    bundle: ModelBundle
    graph: str
    layers: Mapping[str, GraphWeight]
    options: BuildOptions
    goldens: Callable[[], tuple[Golden, ...]]

    @property
    def path(self) -> Path:
        """The graph's file."""
        graph = self.bundle.navigator_graph
        return graph if self.graph == NAVIGATOR else self.bundle.segmentation_graph

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the adaptable weights in the graph."""
        return tuple(layer.initializer for layer in self.layers.values())


@dataclass(frozen=True, slots=True)
class FoundPlan:
    """A plan, and what it is."""

    identity: PlanIdentity
    plan: CachedPlan


def identity_of(order: Order, toolkit: Toolkit) -> PlanIdentity:
    """Return what the wanted plan is, on this machine."""
    return PlanIdentity(order.graph, graph_sha256(order.path), toolkit.platform, order.options)


def find_plan(
    order: Order,
    toolkit: Toolkit,
    cache: PlanCache,
    *,
    accepts: Callable[[BuildOptions, BuildOptions], bool],
) -> FoundPlan | None:
    """Return the newest plan in the cache that may stand for the wanted one, None without any.

    Args:
        order: Wanted.
        toolkit: TensorRT.
        cache: Where plans lie.
        accepts: Whether a plan built with the first options may stand for the second.
    """
    wanted = identity_of(order, toolkit)
    for identity in cache.identities():
        same = replace(identity, options=wanted.options) == wanted
        if same and accepts(identity.options, wanted.options):
            plan = cache.load(identity)
            if plan is not None:
                return FoundPlan(identity, plan)
    return None


def missing_plan(order: Order, toolkit: Toolkit, cache: PlanCache) -> EngineUnavailableError:
    """Return the error that says that, and how, the wanted plan has to be built."""
    options = order.options
    return EngineUnavailableError(
        f"expected a plan of {order.graph} for {toolkit.platform.gpu} ({options.precision}, "
        f"{options.classes.text} classes) in {str(cache.folder)!r}, found none: "
        f"`semla engine build {order.bundle.root}`, or take engine 'onnx'"
    )


def build_plan(
    order: Order, toolkit: Toolkit, cache: PlanCache, *, progress: Progress | None = None
) -> FoundPlan:
    """Build the wanted plan, keep it in the cache and return it; minutes.

    Raises:
        EngineUnavailableError: The package `onnx` is missing.
        EngineError: TensorRT cannot build it, or it cannot be kept.
        BundleError: The graph is not what the manifest says.
    """
    try:
        from semla_ros.engine.tensorrt.graph import fed_names, prepared_graph, save_graph
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            f"building a plan needs the Python package {error.name!r}: pip install "
            "'semla-ros[tensorrt]'"
        ) from error
    options = order.options
    cast = options.casts(toolkit.features)
    if progress is not None:
        progress("reference run", 0, 1)
    goldens = order.goldens()
    with tempfile.TemporaryDirectory(prefix="semla-plan-") as folder:
        graph = Path(folder) / order.path.name
        prepared = prepared_graph(
            order.path,
            options,
            weights=order.weights,
            cast=cast,
            layer_normalization=toolkit.features.layer_normalization,
        )
        save_graph(prepared, graph)
        built = build(
            toolkit,
            graph,
            options,
            weights=order.weights,
            fed=fed_names(options, order.weights),
            timing=cache.timing(),
            progress=progress,
        )
    cache.store_timing(built.timing)
    identity = identity_of(order, toolkit)
    plan = cache.store(identity, built.plan, refit=order.weights, goldens=goldens)
    _LOG.info("built %s: %.1f MB", plan.record.sha256[:12], plan.record.nbytes * 1e-6)
    return FoundPlan(identity, plan)
