"""The model card: how the demo model was made, on what, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semla_ros.bundle import ModelBundle
from semla_ros.demo.model.experiment import STRATEGIES, SeedScores, spread_cell
from semla_ros.demo.model.recipe import BASE_DOMAIN, IMAGE_SIZE, Recipe
from semla_ros.demo.world import CLASSES, DOMAINS

COMMAND = "scripts/make_demo_model"
HEADINGS = {
    "zero-shot": "zero-shot",
    "uniform": "uniform (own left out)",
    "semla-loo": "SemLA (own left out)",
    "semla": "SemLA (whole library)",
    "oracle": "oracle (own alone)",
}


def results_table(scores: Sequence[SeedScores]) -> str:
    """Return the Markdown table of mIoU in percent, mean ± spread over test sets."""
    rows = ["| domain | " + " | ".join(HEADINGS[s] for s in STRATEGIES) + " |"]
    rows.append("|---" * (len(STRATEGIES) + 1) + "|")
    for domain in DOMAINS:
        cells = [spread_cell([x.miou[s][domain] for x in scores]) for s in STRATEGIES]
        rows.append(f"| {domain} | " + " | ".join(cells) + " |")
    cells = [spread_cell([x.h_mean(s) for x in scores]) for s in STRATEGIES]
    rows.append("| **h-mean** | " + " | ".join(f"**{c}**" for c in cells) + " |")
    cells = [
        spread_cell([float(np.mean(list(x.miou[s].values()))) for x in scores]) for s in STRATEGIES
    ]
    rows.append("| arithmetic mean | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def class_table(scores: Sequence[SeedScores]) -> str:
    """Return the Markdown table of IoU per class, averaged over domains and test sets."""
    rows = ["| class | " + " | ".join(HEADINGS[s] for s in STRATEGIES) + " |"]
    rows.append("|---" * (len(STRATEGIES) + 1) + "|")
    for index, name in enumerate(CLASSES):
        cells = [
            f"{np.nanmean([x.iou[s][d][index] for x in scores for d in DOMAINS]):.1f}"
            for s in STRATEGIES
        ]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def write_card(
    bundle: ModelBundle,
    scores: Sequence[SeedScores],
    recipe: Recipe,
    *,
    minutes: float,
    threads: int,
) -> None:
    """Write `MODEL_CARD.md` into the bundle folder."""
    defaults = bundle.manifest.defaults
    megabytes = sum(p.stat().st_size for p in bundle.root.rglob("*") if p.is_file()) / 1e6
    size, test = recipe.clip_size, f"{recipe.test_scenes} scenes a domain"
    height, width = IMAGE_SIZE
    text = f"""# Model card: the demo bundle

Made by `{COMMAND}` from seeds alone; no picture of the real world, no foreign weight
went in. The last run took {minutes:.0f} minutes on {threads} CPU threads.
{megabytes:.1f} MB in all.

## What it is
- A small CLIP (open_clip architecture, QuickGELU, {size.image_size} px, patch {size.patch},
  {size.vision_layers} layers of {size.vision_width}), trained contrastively for
  {recipe.clip.steps} steps on {recipe.domain_scenes} rendered scenes of each of
  {len(DOMAINS)} domains with generated captions. It is the navigator.
- The navigator's text half, for hints: a text tower of the same size, tuned for as many
  steps to that image tower, which was kept as it is, and kept apart from sentences about
  anything else
  (`python -m semla_ros.demo.model.text_half`).
- A CAT-Seg of the same code as the large one, around that CLIP at twice its resolution, trained
  for {recipe.base.steps} steps on {recipe.base_scenes} scenes of **{BASE_DOMAIN} only**.
- One LoRA adapter a domain (rank 8, alpha 16, {recipe.adapter.steps} steps on
  {recipe.domain_scenes} scenes), in SemLA's loradb layout, with the centroid of those scenes'
  embeddings.

It knows the procedural world and nothing else. On real roads its masks are not to be trusted,
and its alarm tells them apart on some frames only.

## What was measured
mIoU in percent from one confusion matrix a domain; mean ± standard deviation over
{recipe.test_seeds} disjoint test sets of {test}, none of which was seen in training or
calibration; at the camera's size {width}x{height}, on ONNX Runtime in float32, with the code that
runs on the robot.

{results_table(scores)}

IoU per class, averaged over domains:

{class_table(scores)}

## What was chosen
On {recipe.validation_scenes} validation scenes a domain, by the h-mean with the target's own
adapter left out: temperature {defaults.temperature:.4g}, top_k {defaults.top_k}, null distance
{defaults.null_distance:.3g} (-1: none). Support is LOW below {defaults.support_low:.4g}.
OUT_OF_LIBRARY begins at the novelty (tied Mahalanobis distance to the nearest domain) that 1 % of
the training scenes pass when a third of them is held out in turn; the library finds it itself.

Reproduce: `{COMMAND}` (the scores of every test set are in `results.json`).
"""
    (bundle.root / "MODEL_CARD.md").write_text(text, encoding="utf-8")
