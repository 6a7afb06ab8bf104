"""A seeded procedural driving world: streets, weather, exact labels, depth and captions."""

from semla_ros.demo.world.caption import caption, domain_captions, short_captions
from semla_ros.demo.world.classes import CLASSES, DOMAINS, SYNONYMS
from semla_ros.demo.world.conditions import Conditions, blend, conditions_of
from semla_ros.demo.world.drive import DEMO_SEGMENTS, Drive, DriveFrame
from semla_ros.demo.world.other_texts import other_text
from semla_ros.demo.world.render import SceneImage, render
from semla_ros.demo.world.scene import Scene, sample_scene

__all__ = [
    "CLASSES",
    "DEMO_SEGMENTS",
    "DOMAINS",
    "SYNONYMS",
    "Conditions",
    "Drive",
    "DriveFrame",
    "Scene",
    "SceneImage",
    "blend",
    "caption",
    "conditions_of",
    "domain_captions",
    "other_text",
    "render",
    "sample_scene",
    "short_captions",
]
