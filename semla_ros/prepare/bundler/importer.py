"""`semla bundle import`: a checkpoint and adapters become a bundle."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from semla_ros.bundle import (
    AS_BASE,
    GUIDANCES,
    AdaptationDefaults,
    ModelBundle,
    TextSpec,
)
from semla_ros.core.errors import ConfigError, TrainingError
from semla_ros.data.labels.class_lists import read_classes
from semla_ros.library.compatibility import PUBLISHED_ENCODER
from semla_ros.network.catseg import CatSeg
from semla_ros.network.checkpoint import catseg_from_state
from semla_ros.network.config import AGGREGATOR_PREFIX, CLIP_PREFIX, CatSegConfig
from semla_ros.prepare.bundler.adapter_import import (
    APPLY,
    QKV_POLICIES,
    AdapterContract,
    import_library,
)
from semla_ros.prepare.bundler.checkpoint_reader import read_checkpoint
from semla_ros.prepare.bundler.navigator_import import NavigatorRequest, requested
from semla_ros.prepare.bundler.navigator_parts import Navigator, spec_of
from semla_ros.prepare.bundler.onnx_export import graph_weights
from semla_ros.prepare.bundler.tokenizer import openai_tokenizer
from semla_ros.prepare.bundler.verify import compare_with_torch
from semla_ros.prepare.bundler.writer import (
    BundleParts,
    base_identity,
    live_layers,
    require_free,
    write_bundle,
)

CATSEG, TRANSFORMERS = "catseg", "transformers"
FAMILIES = (CATSEG, TRANSFORMERS)
TEMPLATE = "A photo of a {} in the scene"
"""Source: CAT-Seg, PROMPT_ENSEMBLE_TYPE single."""

POOLINGS = (1, 2)
_PUBLISHED_LOW_SUPPORT = 0.09
"""Source: SemLA, supplement: support below this is low, for its own encoder."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What to make a bundle of.

    Attributes:
        checkpoint: CAT-Seg, upstream or SemLA's fork, PyTorch or safetensors; of family
            transformers its folder, or its name on the hub.
        loradb: Adapters, a folder each; None: an empty library.
        classes: Class list, see `read_classes`; None: the checkpoint's own, where it has one.
        navigator: Which image encoder tells domains apart.
        out: The new bundle folder.
        family: Network family.
        qkv: See `AdapterContract`.
        adapter_guidance: See `Manifest`.
        skip_unusable: Leave unusable adapters out instead of refusing the library.
        class_pooling: See `read_model`.
        size: (H, W) of the network's input, see `HubRequest`.
    """

    checkpoint: Path
    loradb: Path | None
    classes: str | None
    navigator: NavigatorRequest
    out: Path
    family: str = CATSEG
    qkv: str | None = None
    adapter_guidance: str = AS_BASE
    skip_unusable: bool = False
    class_pooling: int = POOLINGS[0]
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _require("family", self.family, FAMILIES)
        _require("qkv policy", self.qkv, (None, *QKV_POLICIES))
        _require("adapter guidance", self.adapter_guidance, GUIDANCES)
        _require("class pooling", self.class_pooling, POOLINGS)
        self._require_fit()

    def _require_fit(self) -> None:
        """Refuse what the family has no use for.

        Raises:
            ConfigError: An option of another family, or none where one is needed.
        """
        given = {
            "--size": (CATSEG, self.size is not None),
            "--qkv": (TRANSFORMERS, self.qkv is not None),
            "--adapter-guidance": (TRANSFORMERS, self.adapter_guidance != AS_BASE),
            "--class-pooling": (TRANSFORMERS, self.class_pooling != POOLINGS[0]),
        }
        for option, (stranger, is_given) in given.items():
            if is_given and self.family == stranger:
                raise ConfigError(f"family {self.family!r} has no {option}: leave it out")
        if self.family == CATSEG and self.classes is None:
            raise ConfigError("family 'catseg' takes any classes: name them with --classes")


@dataclass(frozen=True, slots=True)
class ImportedBundle:
    """The bundle, and why adapters were left out, by name."""

    bundle: ModelBundle
    skipped: Mapping[str, str]


def import_bundle(request: ImportRequest) -> ImportedBundle:
    """Return the bundle made of a checkpoint and adapters; it appears whole or not at all.

    Raises:
        SemlaError: An input is unusable, or the exported graphs do not answer as torch does.
    """
    require_free(request.out)
    if request.family == TRANSFORMERS:
        return _import_hub(request)
    with _steps(4) as step:
        vocabulary = read_classes(request.classes or "")
        step("reading the checkpoint")
        model = read_model(request.checkpoint, class_pooling=request.class_pooling)
        step("reading the navigator")
        navigator = requested(request.navigator)
        parts = BundleParts(
            name=request.checkpoint.stem,
            model=model,
            tokenizer_json=_tokenizer(model),
            text=TextSpec(TEMPLATE, model.config.context_length),
            navigator=navigator,
            vocabulary=vocabulary,
            defaults=_defaults(navigator),
            adapter_guidance=request.adapter_guidance,
            attention=request.qkv == APPLY,
        )
        with tempfile.TemporaryDirectory(prefix="semla-import-") as scratch:
            library = Path(scratch) / "library"
            library.mkdir()
            step("checking the adapters")
            skipped = _library(request, parts, library)
            step("exporting and checking the graphs")
            check = partial(compare_with_torch, model=model, navigator=navigator)
            bundle = write_bundle(request.out, parts, library=library, check=check)
    return ImportedBundle(bundle, skipped)


def _import_hub(request: ImportRequest) -> ImportedBundle:
    from semla_ros.prepare.bundler.transformers.importer import HubRequest, import_hub_bundle

    navigator = requested(request.navigator)
    bundle, skipped = import_hub_bundle(
        HubRequest(
            checkpoint=str(request.checkpoint),
            out=request.out,
            defaults=_defaults(navigator),
            loradb=request.loradb,
            classes=request.classes,
            size=request.size,
            navigator=navigator,
            skip_unusable=request.skip_unusable,
        )
    )
    return ImportedBundle(bundle, skipped)


def read_model(path: Path, *, class_pooling: int = POOLINGS[0]) -> CatSeg:
    """Return the CAT-Seg network in the checkpoint `path`.

    Args:
        path: The file.
        class_pooling: Side of the blocks of patches over which class attention averages. No
            weight depends on it: 1 is what the evaluation scripts of CAT-Seg and SemLA set, 2
            what their configuration files say, coarser and faster.

    Raises:
        TrainingError: Not CAT-Seg, damaged, or incomplete; unknown and missing keys are named.
        ConfigError: The sizes cannot be inferred.
    """
    state = read_checkpoint(path)
    for prefix in (CLIP_PREFIX, AGGREGATOR_PREFIX):
        if not any(key.startswith(prefix) for key in state):
            raise TrainingError(
                f"checkpoint {path.name!r}: expected CAT-Seg with keys {prefix + '*'!r}, got "
                f"{len(state)} others such as {sorted(state)[:3]!r}: give model_base.pth, "
                "model_large.pth or a SemLA checkpoint"
            )
    try:
        shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
        config = CatSegConfig.from_state_dict(shapes, pooling=class_pooling)
        return catseg_from_state(state, config)
    except (TrainingError, ConfigError) as error:
        raise type(error)(f"checkpoint {path.name!r}: {error}") from error


def _library(request: ImportRequest, parts: BundleParts, target: Path) -> dict[str, str]:
    """Fill `target` with the usable adapters; return why others were left out."""
    if request.loradb is None:
        return {}
    layers = graph_weights(live_layers(parts.model, attention=parts.attention))
    contract = AdapterContract(
        layers, base_identity(parts.model), spec_of(parts.navigator), request.qkv
    )
    return import_library(request.loradb, target, contract, skip_unusable=request.skip_unusable)


def _tokenizer(model: CatSeg) -> str:
    """Return OpenAI's tokenizer, the only one CAT-Seg is published with."""
    tokenizer = openai_tokenizer()
    size = model.config.vocab_size
    if tokenizer.get_vocab_size() != size:
        raise TrainingError(
            f"expected a text tower of {tokenizer.get_vocab_size()} tokens, got {size}: only "
            "OpenAI CLIP's tokenizer is known"
        )
    return tokenizer.to_str()


def _defaults(navigator: Navigator) -> AdaptationDefaults:
    """Return SemLA's published settings; thresholds nobody measured are off (0)."""
    spec = spec_of(navigator)
    published = spec is not None and spec.identity == PUBLISHED_ENCODER
    low = _PUBLISHED_LOW_SUPPORT if published else 0.0
    return AdaptationDefaults(0.05, 5, "euclidean", "inverse", -1.0, low, 0.0)


def _require(what: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"expected a {what} of {allowed!r}, got {value!r}: choose one of them")


@contextmanager
def _steps(total: int) -> Iterator[Callable[[str], None]]:
    """Yield what says which step comes, and moves a progress bar on."""
    bar: tqdm[Any]
    with tqdm(total=total, unit="step", disable=None, leave=False) as bar:

        def step(text: str) -> None:
            _LOG.info("%s", text)
            bar.set_description(text)
            bar.update()

        yield step
