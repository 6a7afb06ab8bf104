"""What the installed TensorRT can do, found by looking at its module, never at its version.

Integers of enumerators differ between versions and features are back-ported, so everything here
asks whether a name exists. Source: the Python bindings of 8.5.3, 10.2, 10.13 and 11.4.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

_EXTERNAL_TACTICS = ("CUBLAS", "CUBLAS_LT", "CUDNN")


@dataclass(frozen=True, slots=True)
class Features:
    """What this TensorRT offers.

    Attributes:
        named_tensors: `execute_async_v3` and `set_tensor_address` (8.5); without them this
            engine cannot run.
        explicit_batch: A network must be created with that flag (8.x; ignored later).
        fp16_flag: The builder may choose FP16 by itself (up to 10.x, weak typing).
        strong_typing: Networks whose types are those of the ONNX: by flag in 9.x and 10.x, always
            in 11.
        individual_refit: Single weights can be marked refittable (10.2).
        prototypes: The refitter says which type and count it wants (10.0).
        device_weights: The refitter reads device memory (9.1).
        async_refit: A refit can be put on a stream (9.1).
        lasting_contexts: Execution contexts survive a refit and set weights stay set (9.1);
            before, both have to be made anew after each refit.
        unlocked_refit: A refit lets other Python threads run (9.1, with the stream's form).
        weights_validation: The check of values can be turned off (9.1).
        optimization_level: 8.6.
        layer_normalization: The parser knows that operator (8.6, with the layer it makes of it).
        progress: The builder reports phases (9.x).
        profile_sharing: Contexts share a profile only when asked to (8.6; always since 10).
        external_tactics: Tactic sources outside TensorRT that can be turned off.
    """

    named_tensors: bool
    explicit_batch: bool
    fp16_flag: bool
    strong_typing: bool
    individual_refit: bool
    prototypes: bool
    device_weights: bool
    async_refit: bool
    lasting_contexts: bool
    unlocked_refit: bool
    weights_validation: bool
    optimization_level: bool
    layer_normalization: bool
    progress: bool
    profile_sharing: bool
    external_tactics: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """Return one line for each feature, for people."""
        return tuple(f"{f.name}: {_shown(getattr(self, f.name))}" for f in fields(self))


def features_of(trt: Any) -> Features:  # noqa: ANN401  a module without types
    """Return what the module `trt` offers."""
    refitter, flags = trt.Refitter, trt.BuilderFlag
    creation = trt.NetworkDefinitionCreationFlag
    stream_refit = hasattr(refitter, "refit_cuda_engine_async")
    fp16_flag = hasattr(flags, "FP16")
    shared = hasattr(getattr(trt, "PreviewFeature", None), "PROFILE_SHARING_0806")
    return Features(
        named_tensors=hasattr(trt.IExecutionContext, "execute_async_v3"),
        explicit_batch=hasattr(creation, "EXPLICIT_BATCH"),
        fp16_flag=fp16_flag,
        strong_typing=hasattr(creation, "STRONGLY_TYPED") or not fp16_flag,
        individual_refit=hasattr(flags, "REFIT_INDIVIDUAL")
        and hasattr(trt.INetworkDefinition, "mark_weights_refittable"),
        prototypes=hasattr(refitter, "get_weights_prototype"),
        device_weights=hasattr(refitter, "get_weights_location"),
        async_refit=stream_refit,
        lasting_contexts=stream_refit,
        unlocked_refit=stream_refit,
        weights_validation=hasattr(refitter, "weights_validation"),
        optimization_level=hasattr(trt.IBuilderConfig, "builder_optimization_level"),
        layer_normalization=hasattr(trt.INetworkDefinition, "add_normalization"),
        progress=hasattr(trt, "IProgressMonitor")
        and hasattr(trt.IBuilderConfig, "progress_monitor"),
        profile_sharing=shared and not stream_refit,
        external_tactics=tuple(n for n in _EXTERNAL_TACTICS if hasattr(trt.TacticSource, n)),
    )


def _shown(value: bool | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "yes" if value else "no"
