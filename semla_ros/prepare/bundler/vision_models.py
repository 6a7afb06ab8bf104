"""Any classifier of timm or torchvision as the navigator, by name, without its last layer."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from semla_ros.bundle import NavigatorSpec
from semla_ros.core.errors import TrainingError
from semla_ros.navigator.preprocess import CENTER_CROP, EVAL_CROP
from semla_ros.prepare.bundler.checkpoint_reader import read_checkpoint
from semla_ros.prepare.bundler.clip import mend_torchvision
from semla_ros.prepare.bundler.image_tower import ImageTower, fill_tower, square_side, with_resize
from semla_ros.prepare.bundler.navigator_parts import NavigatorParts
from semla_ros.prepare.bundler.writer import state_identity

TIMM, TORCHVISION = "timm:", "torchvision:"
_WHOLE = 0.95
"""Share of the shortest side from which a crop counts as all of it."""

Foreign: TypeAlias = Any
"""An object of timm or torchvision, which are untyped and there at build time alone."""


def load_timm(name: str, checkpoint: Path | None, *, resize: str | None) -> NavigatorParts:
    """Return timm's model as an encoder, on the CPU, float32.

    Args:
        name: `timm:MODEL`.
        checkpoint: Its weights as timm stores them; None: from the hub.
        resize: One of the navigator's `RESIZES`; None: `eval_crop`, or `center_crop` where the
            model was evaluated on (nearly) all of the shortest side.

    Raises:
        TrainingError: An unknown name, weights of another model, none to be had, or no timm.
    """
    timm = import_vision("timm", name)
    model = name.removeprefix(TIMM)
    _require_known(name, model, [model] if timm.is_model(model) else timm.list_models())
    tower = fetched(
        name, lambda: timm.create_model(model, pretrained=checkpoint is None, num_classes=0)
    )
    facts = timm.data.resolve_model_data_config(tower)
    spec = _spec(facts["input_size"][1:], facts["crop_pct"], facts["mean"], facts["std"])
    heads = tower.default_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    return _parts(name, tower, spec, checkpoint, heads=heads, resize=resize)


def load_torchvision(name: str, checkpoint: Path | None, *, resize: str | None) -> NavigatorParts:
    """Return torchvision's classifier without its last linear layer, on the CPU, float32.

    Args:
        name: `torchvision:MODEL`.
        checkpoint: Its weights as torchvision stores them; None: from torchvision's site.
        resize: See `load_timm`.

    Raises:
        TrainingError: An unknown name, weights of another model, none to be had, no linear layer,
            or no torchvision.
    """
    models = import_vision("torchvision", name).models
    model = name.removeprefix(TORCHVISION)
    _require_known(name, model, models.list_models(module=models))
    weights = models.get_model_weights(model).DEFAULT
    chosen = weights if checkpoint is None else None
    tower = fetched(name, lambda: models.get_model(model, weights=chosen))
    linear = [place for place, each in tower.named_modules() if isinstance(each, nn.Linear)]
    if not linear:
        raise TrainingError(
            f"navigator {name!r}: expected a classifier that ends in a linear layer, found none: "
            "take another model"
        )
    parent, _, place = linear[-1].rpartition(".")
    setattr(tower.get_submodule(parent), place, nn.Identity())
    facts = weights.transforms()
    share = facts.crop_size[0] / facts.resize_size[0]
    spec = _spec(facts.crop_size * 2, share, facts.mean, facts.std)
    return _parts(name, tower, spec, checkpoint, heads=linear[-1:], resize=resize)


def import_vision(package: str, navigator: str) -> Foreign:
    """Return timm or torchvision.

    Raises:
        TrainingError: It is not installed.
    """
    try:
        mend_torchvision()  # timm wants it
        return importlib.import_module(package)
    except ImportError as error:
        raise TrainingError(
            f"navigator {navigator!r}: expected {package}, found none: pip install '.[train]'"
        ) from error


def fetched(navigator: str, make: Callable[[], Foreign]) -> Foreign:
    """Return the model that `make` makes, with weights from where they are published.

    Raises:
        TrainingError: They cannot be downloaded.
    """
    try:
        return make()
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"navigator {navigator!r}: the weights cannot be downloaded ({reason}): give them "
            "with --navigator-checkpoint"
        ) from error


def _require_known(name: str, model: str, known: Collection[str]) -> None:
    if model not in known:
        near = difflib.get_close_matches(model, known, n=3)
        raise TrainingError(
            f"navigator {name!r}: expected one of {len(known)} models, got {model!r}: did you "
            f"mean {near!r}?"
        )


def _spec(
    size: Sequence[int], share: float, mean: Sequence[float], std: Sequence[float]
) -> NavigatorSpec:
    """Return the model's own preprocessing, as near as there is; identity and length are open."""
    return NavigatorSpec(
        identity="",
        size=square_side(tuple(size)),
        resize=CENTER_CROP if share >= _WHOLE else EVAL_CROP,
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        dim=1,
    )


def _parts(
    name: str,
    tower: nn.Module,
    spec: NavigatorSpec,
    checkpoint: Path | None,
    *,
    heads: Sequence[str],
    resize: str | None,
) -> NavigatorParts:
    """Return the navigator with its weights; those of the classifiers `heads` are left aside."""
    if checkpoint is not None:
        state = {
            key: tensor.to(torch.float32) if tensor.is_floating_point() else tensor
            for key, tensor in read_checkpoint(checkpoint).items()
            if not key.startswith(tuple(f"{head}." for head in heads))
        }
        fill_tower(tower, state, origin=checkpoint.name)
    tower.eval()
    with torch.inference_mode():
        shape = tuple(tower(torch.zeros(1, 3, *spec.shape)).shape)
    if len(shape) != 2:
        raise TrainingError(
            f"navigator {name!r}: expected one vector an image, got {shape!r}: take another model"
        )
    identity = state_identity(tower.state_dict(), prefix=name.replace(":", "/"))
    chosen = resize or spec.resize
    spec = replace(
        spec,
        identity=with_resize(identity, chosen, own=spec.resize),
        resize=chosen,
        dim=shape[1],
    )
    return NavigatorParts(ImageTower(tower).eval(), spec)
