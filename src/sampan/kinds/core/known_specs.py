"""Pod specs that were found valid before: the next pod of the same template need not be looked through.

To validate a pod is the largest part of creating one, and most pods are one of many from a template. What
changes in a template is mostly the image alone.
"""

from __future__ import annotations

import re
from typing import Any, Final, Generic, TypeVar

from sampan.schema import api, codec

T = TypeVar("T")

# Specs are some two kilobytes each.
KNOWN_MOST: Final = 512
_TOKENS: Final = re.compile(rb'"kube-api-access-[a-z0-9]{5}"')
# No JSON holds this byte: it stands for no name that somebody could write.
_ANY_TOKENS: Final = b"\x00"
# Stands for every image that a container may have; it is one itself.
_ANY_IMAGE: Final = "image"


def shape(spec: api.PodSpec, within: Any = None) -> bytes | None:
    """What validity depends on: all but the node, which good image a container has, and the letters drawn
    for the volume of the token. With `within`, the struct that holds the spec, that of the whole struct.

    None where it depends on more than the spec: volumes that become claims are named after the pod.
    """
    if any(volume.ephemeral is not None for volume in spec.volumes):
        return None
    node, spec.nodeName = spec.nodeName, None
    containers = [*spec.containers, *spec.initContainers]
    images = [container.image for container in containers]
    try:
        for container, image in zip(containers, images, strict=True):
            if image and image.strip() == image:
                container.image = _ANY_IMAGE
        data = codec.encode(spec if within is None else within)
    finally:
        spec.nodeName = node
        for container, image in zip(containers, images, strict=True):
            container.image = image
    found = _TOKENS.search(data)
    # A second such name, which may not be the same, is left as it is.
    return data if found is None else data.replace(found[0], _ANY_TOKENS)


class Remembered(Generic[T]):
    """What was found of the shapes that came last."""

    def __init__(self, most: int = KNOWN_MOST) -> None:
        self._most = most
        self._found: dict[bytes, T] = {}

    def get(self, shape: bytes | None) -> T | None:
        """What was found of a shape; None where it was not looked at, or is forgotten."""
        return None if shape is None else self._found.get(shape)

    def put(self, shape: bytes | None, found: T) -> None:
        """Remember it; the one that came first is forgotten where there are too many."""
        if shape is None:
            return
        if len(self._found) >= self._most:
            del self._found[next(iter(self._found))]
        self._found[shape] = found


class KnownSpecs:
    """The shapes of the valid specs that came last."""

    def __init__(self, most: int = KNOWN_MOST) -> None:
        self._shapes: Remembered[bool] = Remembered(most)

    def __contains__(self, shape: bytes | None) -> bool:
        return self._shapes.get(shape) is not None

    def add(self, shape: bytes | None) -> None:
        """Remember a shape."""
        self._shapes.put(shape, True)


def names_tokens(shape: bytes | None) -> bool:
    """Whether the spec of this shape has a name in it that the shape leaves out."""
    return shape is not None and _ANY_TOKENS in shape
