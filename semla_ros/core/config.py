"""Every parameter, declared once: default, unit, range, one line of doc, when it can be set.

ROS declarations, the YAML check, `semla` options and `semla params` are derived from `Config`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from semla_ros.core.engines import AUTO, ENGINES
from semla_ros.core.errors import ConfigError
from semla_ros.core.parameter import ParameterSpec, parameter, spec_of


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of pipeline and node. 0 or `bundle` means: what the model bundle recommends."""

    bundle: str = parameter(
        "", "Model bundle folder; empty: the demo bundle that comes with the package"
    )
    trusted_keys: str = parameter(
        "",
        "minisign public key, or folder of *.pub: bundle and adapters must be signed by one; "
        "empty: signatures are not asked for",
    )
    engine: str = parameter(
        "auto",
        "Inference backend; auto takes the best that works here, an explicit one fails",
        choices=(AUTO, *ENGINES),
    )
    precision: str = parameter(
        "auto",
        "What the engine multiplies in; auto takes its fastest proven one, an explicit one fails",
        choices=("auto", "f32", "bf16", "f16"),
        decides="result",
    )
    device: str = parameter(
        "auto",
        "Where the engine runs; auto: where it is made for, cuda: a GPU or failure",
        choices=("auto", "cpu", "cuda"),
    )
    threads: int = parameter(
        0, "CPU threads of the engine; 0 leaves one core to the rest of the robot", low=0, high=256
    )
    tensorrt_build: str = parameter(
        "background",
        "What engine tensorrt does without a plan: build it while another engine serves, or fail",
        choices=("background", "never"),
    )
    navigator_engine: str = parameter(
        "auto",
        "What embeds images (and, OpenVINO, class names); auto: TensorRT with a plan, "
        "OpenVINO with bf16, else ONNX Runtime",
        choices=("auto", "onnx", "openvino", "tensorrt"),
    )
    adaptation: str = parameter(
        "background",
        "Where navigator and swaps run: background (never delays a mask) or inline (replay)",
        choices=("background", "inline"),
    )
    navigator_rate_hz: float = parameter(
        5.0,
        "How often a frame is embedded, by sensor time; 0: every frame",
        unit="Hz",
        low=0.0,
        high=120.0,
        live=True,
        decides="result",
    )
    ema_time_s: float = parameter(
        1.0,
        "Time constant of the embedding filter, by sensor time; 0: no filter",
        unit="s",
        low=0.0,
        high=60.0,
        live=True,
        decides="result",
    )
    max_gap_s: float = parameter(
        5.0,
        "A longer gap between frames resets the filter; a longer step of the stamps, or one back "
        "by more than support_max_age_s, everything",
        unit="s",
        low=0.1,
        high=3600.0,
        live=True,
        decides="result",
    )
    retrieval_preset: str = parameter(
        "bundle",
        "Temperature and top_k: the bundle's, or SemLA's published pairs (0.05, 5) and (0.01, 7)",
        choices=("bundle", "semla_k5", "semla_k7"),
        live=True,
    )
    temperature: float = parameter(
        0.0, "Softmax temperature over similarity; 0: the preset's", low=0.0, high=1e6, live=True
    )
    top_k: int = parameter(
        0, "How many adapters a mix may hold; 0: the preset's", low=0, high=1000, live=True
    )
    distance: str = parameter(
        "bundle",
        "Distance of an embedding to a centroid; one not the bundle's wants its own support_low",
        choices=("bundle", "euclidean", "cosine", "mahalanobis"),
        live=True,
    )
    similarity: str = parameter(
        "bundle",
        "How a distance becomes a similarity: 1/d (SemLA) or -d",
        choices=("bundle", "inverse", "neg_distance"),
        live=True,
    )
    exclude: str = parameter(
        "", "Adapters never used: a, b; unknown ones are refused", live=True, decides="result"
    )
    null_distance: float = parameter(
        0.0,
        "Distance at which the base joins a mix, without support; 0: the bundle's, -1: never",
        low=-1.0,
        high=1e6,
        live=True,
    )
    swap_policy: str = parameter(
        "debounce",
        "When a wanted mix replaces the active one",
        choices=("debounce", "always", "never"),
        live=True,
        decides="policy",
    )
    swap_trigger: float = parameter(
        0.3,
        "Swap when wanted and active mix differ by this total variation",
        low=0.0,
        high=1.0,
        live=True,
        decides="policy",
    )
    swap_release: float = parameter(
        0.15,
        "Below this total variation an observation speaks against a swap",
        low=0.0,
        high=1.0,
        live=True,
        decides="policy",
    )
    trigger_consecutive: int = parameter(
        3,
        "Observations above the trigger, in one run, before a swap; 1: no debounce",
        low=1,
        high=1000,
        live=True,
        decides="policy",
    )
    release_consecutive: int = parameter(
        2,
        "Observations in a row below the release that end such a run",
        low=1,
        high=1000,
        live=True,
        decides="policy",
    )
    min_dwell_s: float = parameter(
        1.0,
        "Shortest sensor time between two swaps",
        unit="s",
        low=0.0,
        high=3600.0,
        live=True,
        decides="policy",
    )
    library_memory_mib: int = parameter(
        512,
        "Adapters kept in memory, the most recently used ones; the others are read when needed",
        unit="MiB",
        low=1,
        high=1_000_000,
    )
    unsealed_adapters: str = parameter(
        "accept", "Adapters without SHA256SUMS serve, or not", choices=("accept", "refuse")
    )
    generated_adapters: str = parameter(
        "accept",
        "Adapters that `semla generate` made from words serve, or not",
        choices=("accept", "refuse"),
        decides="result",
    )
    support_low: float = parameter(
        0.0,
        "Support score below which the level is LOW; 0: the bundle's calibration",
        low=0.0,
        high=1e6,
        live=True,
    )
    out_of_library: float = parameter(
        0.0,
        "Novelty above which the level is OUT_OF_LIBRARY; 0: the library's own, else the bundle's",
        low=0.0,
        high=1e6,
        live=True,
    )
    out_of_library_mix: str = parameter(
        "retrieved",
        "What serves OUT_OF_LIBRARY: the mix retrieved nevertheless, or the base alone",
        choices=("retrieved", "base"),
        live=True,
        decides="result",
    )
    hint_ttl_s: float = parameter(
        20.0,
        "For how long words on `~/hint` count, by sensor time, where they do not say themselves",
        unit="s",
        low=0.1,
        high=86_400.0,
        live=True,
    )
    stale_timeout_s: float = parameter(
        1.0,
        "Without a usable image for this long the support goes STALE",
        unit="s",
        low=0.05,
        high=3600.0,
        live=True,
    )
    support_max_age_s: float = parameter(
        2.0,
        "Support is STALE when what was seen last is older, by sensor time or the machine's clock",
        unit="s",
        low=0.05,
        high=3600.0,
        live=True,
    )
    image_transport: str = parameter(
        "raw", "How the camera stream arrives", choices=("raw", "compressed")
    )
    executor: str = parameter(
        "single",
        "rclpy executor of the node: one thread, several, or event-driven where rclpy has it",
        choices=("single", "multi", "events"),
        fixed=True,
    )
    max_image_age_s: float = parameter(
        0.0,
        "Images older than this before or after the network are dropped and counted; 0: never",
        unit="s",
        low=0.0,
        high=3600.0,
        live=True,
    )
    output_size: str = parameter(
        "input",
        "Size of mask and confidence: the camera image's or the network's",
        choices=("input", "model"),
    )
    overlay_alpha: float = parameter(
        0.5, "Opacity of the class colours in the overlay", low=0.0, high=1.0, live=True
    )
    max_pixels: int = parameter(
        33_177_600,
        "Larger images are refused before memory is allocated (default 7680 x 4320)",
        unit="px",
        low=1,
        high=1_000_000_000,
    )
    significant_bits: int = parameter(
        16,
        "Low bits of 16-bit images that carry the value: 12 where a camera stores 12 in 16",
        unit="bit",
        low=8,
        high=16,
    )
    capture_dir: str = parameter(
        "",
        "Folder that frames which the library does not cover are kept in; empty: none are kept",
        live=True,
    )
    capture_mib: int = parameter(
        1000,
        "What the frames may take on disk; the oldest are deleted to make room",
        unit="MiB",
        low=1,
        high=10_000_000,
        live=True,
    )
    capture_max_age_h: float = parameter(
        0.0,
        "Frames that were kept longer ago are deleted; 0: never",
        unit="h",
        low=0.0,
        high=100_000.0,
        live=True,
    )
    capture_period_s: float = parameter(
        2.0,
        "Least time between two frames that are kept, by the machine's clock",
        unit="s",
        low=0.0,
        high=86_400.0,
        live=True,
    )
    capture_spread: float = parameter(
        0.1,
        "Least distance of a frame's embedding to those kept, as a share of its length; 0: none",
        low=0.0,
        high=2.0,
        live=True,
    )
    capture_below_miou: float = parameter(
        0.0,
        "Frames of masks whose expected mIoU is lower are kept, too, whatever their support; "
        "0: none",
        low=0.0,
        high=1.0,
        live=True,
    )
    capture_filter: str = parameter(
        "",
        "Program that blurs faces and plates before writing: PNG on stdin, PNG of equal size on "
        "stdout; where it fails the frame is not kept",
        fixed=True,
    )
    diagnostics_period_s: float = parameter(
        1.0,
        "Period of /diagnostics and of the stale check",
        unit="s",
        low=0.05,
        high=60.0,
        fixed=True,
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            spec_of(each).checked(getattr(self, each.name))
        if self.swap_release > self.swap_trigger:
            raise ConfigError(
                f"parameter 'swap_release': expected at most swap_trigger {self.swap_trigger!r}, "
                f"got {self.swap_release!r}"
            )

    @property
    def excluded(self) -> frozenset[str]:
        """The adapter names of `exclude`."""
        return frozenset(n.strip() for n in self.exclude.split(",") if n.strip())


PARAMETERS: Mapping[str, ParameterSpec] = {f.name: spec_of(f) for f in fields(Config)}


def updated(config: Config, changes: Mapping[str, object]) -> Config:
    """Return `config` with `changes`, every value checked.

    Raises:
        ConfigError: An unknown name (the nearest known one is suggested) or a wrong value.
    """
    checked: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in PARAMETERS:
            near = difflib.get_close_matches(name, PARAMETERS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"unknown parameter {name!r}{hint}")
        checked[name] = PARAMETERS[name].checked(value)
    return replace(config, **checked)
