"""The RViz configuration of one node: namespace, camera topic and transport filled in."""

from __future__ import annotations

import re

CAMERA = "/image"
"""What the configuration calls the camera's topic before it is filled in."""

_TOPIC = re.compile(r"^(\s+Value: )(/\S+)$", re.MULTILINE)


def rviz_config(template: str, *, namespace: str, image: str, transport: str) -> str:
    """Return `template` (config/semla.rviz) with the topics of one node.

    RViz's Image display takes the transport from the last part of a topic's name, and a name that
    is remapped after that is not found; so the file itself gets the whole names.

    Args:
        template: The text of the configuration.
        namespace: Of the node; empty for none.
        image: Camera topic as the node takes it: relative names are in the namespace.
        transport: raw or compressed, as the node's `image_transport`.
    """
    prefix = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
    camera = image if image.startswith("/") else f"{prefix}/{image}"
    camera += "/compressed" if transport == "compressed" else ""

    def named(match: re.Match[str]) -> str:
        topic = match[2]
        return match[1] + (camera if topic == CAMERA else prefix + topic)

    return _TOPIC.sub(named, template)
