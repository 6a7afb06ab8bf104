"""A Nav2 costmap for a class list: its layer must know every name that a planner mask can hold.

The layer is kiwicampus/semantic_segmentation_layer, read at commit a70cf6e (rolling) and 274c713
(jazzy). A class that its parameters do not name is skipped, and ground that only such a class was
seen on stays free; so the file is made from the class list.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

from semla_ros.core.types import UNLABELED_NAME, UNSUPPORTED

FREE = frozenset(
    {"road", "street", "sidewalk", "pavement", "footpath", "walkway", "path", "floor"}
    | {"crosswalk", "lane marking", "bike lane", "service lane", "parking", "pedestrian area"}
)
CAUTION = frozenset(
    {"terrain", "grass", "gravel", "sand", "dirt", "mud", "snow", "manhole", "pothole", "sky"}
)
"""Words for ground by how it is entered; what is neither is an obstacle."""

_INDENT = 14

_TEMPLATE = """\
# Made by `semla nav2 BUNDLE`: a Nav2 local costmap that reads the segmenter through the plugin
# semantic_segmentation_layer (github.com/kiwicampus/semantic_segmentation_layer; on Jazzy and on
# Kilted its branch jazzy: rolling needs a newer Nav2). Make it anew when the class list changes:
# the layer skips a class that is not named here (one error in its log), and the ground below it
# stays free. Move names between the types as your robot needs it.
#
# - plugins: the list replaces yours, it is not merged. Put your own layers into it (obstacle_layer
#   or voxel_layer first), or the laser is no longer looked at.
# - pointcloud_topic: the cloud registered to the camera, one point for each pixel of the mask
#   (output_size: input). The layer has no height limit: what hangs overhead is an obstacle on the
#   ground below. Have a filter that keeps the cloud organised (pcl_ros CropBox with
#   keep_organized: true) turn points above the robot into NaN; the layer skips those.
# - Topics are absolute, as the layer takes them: for a node in a namespace, `--namespace`.
# - unsupported: ground that the adapter library does not cover, and pixels without a class.
#   dominant_priority lets one observation replace all older ones of a tile; without it a tile that
#   was seen as road stays free until the new class has more observations than the road has. The
#   newest dominant class wins a tile, so an obstacle can become unsupported ground: keep a laser.
# - The layer never resets a cell by itself. tile_map_decay_time forgets observations, not costs:
#   after the last mask, what was free stays free. semla_ros' nav2_guard stops the robot and
#   clears the costmap then (docs/views.md).
local_costmap:
  local_costmap:
    ros__parameters:
      track_unknown_space: true
      plugins: ["semantic_segmentation_layer", "inflation_layer"]
      semantic_segmentation_layer:
        plugin: "semantic_segmentation_layer::SemanticSegmentationLayer"
        enabled: true
        use_approximate_time_sync: true
        observation_sources: "camera"
        camera:
          segmentation_topic: "@NODE@/planner/mask"
          confidence_topic: "@NODE@/confidence"
          labels_topic: "@NODE@/planner/label_info"
          pointcloud_topic: "/camera/depth/points"
          max_obstacle_distance: 8.0
          min_obstacle_distance: 0.3
          tile_map_decay_time: 1.0
          use_cost_selection: true
          class_types: @TYPES@
@CLASSES@
      inflation_layer:
        plugin: "nav2_costmap_2d::InflationLayer"
        cost_scaling_factor: 3.0
        inflation_radius: 0.55
"""


def nav2_costmap(names: Sequence[str], *, namespace: str = "") -> str:
    """Return Nav2 parameters (YAML) of a local costmap that reads the node's planner mask.

    Args:
        names: The bundle's class list. The first synonym of a name says what it is.
        namespace: Of the segmenter; the layer takes its topics as they stand.
    """
    kinds: dict[str, list[str]] = {"free": [], "caution": [], "unsupported": [], "obstacle": []}
    for name in names:
        word = name.split(",")[0].strip().lower()
        kind = "free" if word in FREE else "caution" if word in CAUTION else "obstacle"
        kinds[kind].append(name)
        kinds["obstacle" if kind == "obstacle" else "unsupported"].append(name + UNSUPPORTED)
    kinds["unsupported"].append(UNLABELED_NAME)
    known = [kind for kind, members in kinds.items() if members]
    prefix = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
    types = "".join(_TYPES[kind].format(classes=_listed(kinds[kind])) for kind in known)
    return (
        _TEMPLATE.replace("@NODE@", f"{prefix}/segmenter")
        .replace("@TYPES@", json.dumps(known))
        .replace("@CLASSES@\n", types)
    )


def _type(name: str, *, base: int, top: int, samples: int, dominant: bool) -> str:
    lines = (
        f"{name}:",
        "  classes: [",
        "{classes}]",
        f"  base_cost: {base}",
        f"  max_cost: {top}",
        "  mark_confidence: 0",
        f"  samples_to_max_cost: {samples}",
        f"  dominant_priority: {str(dominant).lower()}",
    )
    text = "\n".join(line if line.startswith("{") else " " * 10 + line for line in lines)
    return text + "\n"


_TYPES = {
    "free": _type("free", base=0, top=0, samples=0, dominant=False),
    "caution": _type("caution", base=80, top=160, samples=3, dominant=False),
    "unsupported": _type("unsupported", base=160, top=160, samples=0, dominant=True),
    "obstacle": _type("obstacle", base=254, top=254, samples=0, dominant=True),
}


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(json.dumps(name, ensure_ascii=False).replace(" ", "\0") for name in names)
    lines = textwrap.wrap(text, 98 - _INDENT, break_long_words=False, break_on_hyphens=False)
    return "\n".join(" " * _INDENT + line for line in lines).replace("\0", " ")
