"""Building ahead of time: segmentation and navigator, each held against the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semla_ros.bundle import ModelBundle
from semla_ros.engine.options import EngineOptions
from semla_ros.engine.tensorrt.assembly import order_of
from semla_ros.engine.tensorrt.build import Progress
from semla_ros.engine.tensorrt.engine import TensorRtEngine
from semla_ros.engine.tensorrt.options import BuildOptions
from semla_ros.engine.tensorrt.plan_cache import PlanCache, default_folder
from semla_ros.engine.tensorrt.plans import FoundPlan, Order, build_plan, find_plan, identity_of
from semla_ros.engine.tensorrt.runner import TensorRtRunner
from semla_ros.engine.tensorrt.settings import TensorRtSettings
from semla_ros.engine.tensorrt.toolkit import Toolkit


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build.

    Attributes:
        bundle: The model.
        options: How.
        folder: Where plans go; None: the user's cache folder.
        navigator: Build the navigator's plan, too.
        again: Build even what is there already.
        threads: CPU threads of the reference run; 0: all cores but one.
    """

    bundle: ModelBundle
    options: BuildOptions
    folder: Path | None = None
    navigator: bool = True
    again: bool = False
    threads: int = 0


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built.

    Attributes:
        plan: File of the segmentation plan.
        nbytes: Its size.
        detail: How sets of weights are loaded on this machine.
        errors: Relative error against the reference, by weights.
        navigator_error: The navigator's, None where it was not built.
    """

    plan: Path
    nbytes: int
    detail: str
    errors: Mapping[str, float]
    navigator_error: float | None


def prebuild(request: BuildRequest, *, progress: Progress | None = None) -> BuildReport:
    """Build what `request` says, prove it, and return what came of it; minutes.

    Raises:
        EngineUnavailableError: Package, driver or GPU is missing; it says which.
        EngineError: A plan cannot be built, or answers something else than the reference.
        BundleError: The bundle does not hold what it should.
    """
    cache = PlanCache(request.folder or default_folder())
    toolkit = Toolkit.open()
    try:
        order = order_of(request.bundle, request.options, threads=request.threads)
        found = _made(order, toolkit, cache, again=request.again, progress=progress)
    except BaseException:
        toolkit.cuda.close()
        raise
    options = found.identity.options
    with TensorRtEngine(request.bundle, toolkit, found.plan, options=options) as engine:
        errors, detail = engine.golden_errors, engine.status.detail
    return BuildReport(
        plan=cache.folder / f"{found.identity.key}.plan",
        nbytes=found.plan.record.nbytes,
        detail=detail,
        errors=errors,
        navigator_error=_navigator(request, progress),
    )


def _made(
    order: Order, toolkit: Toolkit, cache: PlanCache, *, again: bool, progress: Progress | None
) -> FoundPlan:
    if again:
        cache.drop(identity_of(order, toolkit))
    found = find_plan(order, toolkit, cache, accepts=lambda built, wanted: built == wanted)
    return found or build_plan(order, toolkit, cache, progress=progress)


def _navigator(request: BuildRequest, progress: Progress | None) -> float | None:
    if not request.navigator or request.bundle.manifest.navigator is None:
        return None
    settings = TensorRtSettings(folder=request.folder, build=True, progress=progress)
    options = EngineOptions(threads=request.threads)
    runner = TensorRtRunner.open(request.bundle, options=options, settings=settings)
    runner.close()
    return runner.golden_error
