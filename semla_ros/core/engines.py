"""The engines there are: the parameter `engine` offers them, `auto` tries them in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

AUTO = "auto"
F32, BF16, F16 = "f32", "bf16", "f16"
CPU, CUDA = "cpu", "cuda"


@dataclass(frozen=True, slots=True)
class EngineKind:
    """What is known of an engine before anything of it is imported.

    Attributes:
        module: Below `semla_ros.engine`; its `open_engine(bundle, options=...)` opens one.
        precisions: Device -> what matrices can be multiplied in there; the first device is its
            own choice.
        auto: Precisions that `auto` takes it for; the first is asked of it where the user left
            that open, `AUTO` leaves it open, too. Empty: `auto` never takes it.
        golden: `auto` holds its answer against ONNX Runtime's before it is trusted.
        package: Python package that it needs beyond the required ones.
    """

    module: str
    precisions: Mapping[str, tuple[str, ...]]
    auto: tuple[str, ...] = ()
    golden: bool = False
    package: str = ""


ENGINES: Mapping[str, EngineKind] = MappingProxyType(
    {
        # auto: only with a plan that was proven; none is built for it.
        "tensorrt": EngineKind(
            "tensorrt.engine", {CUDA: (F16, F32)}, (F16, F32), golden=True, package="tensorrt"
        ),
        # auto: in float32 it gains nothing with large models.
        "openvino": EngineKind(
            "openvino_engine",
            {CPU: (F32, BF16, F16)},
            (BF16, F16),
            golden=True,
            package="openvino",
        ),
        "onnx": EngineKind("onnx_engine", {CPU: (F32,)}, (AUTO,)),
        "torch": EngineKind(
            "torch_engine", {CPU: (F32, BF16), CUDA: (F32, F16, BF16)}, (AUTO,), package="torch"
        ),
        "fake": EngineKind("fake_engine", {CPU: (F32,)}),
    }
)
