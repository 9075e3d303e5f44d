"""Pod specs that were found valid before: the next pod of the same template need not be looked through.

To validate a pod is the largest part of creating one, and most pods are one of many from a template.
"""

from __future__ import annotations

import re
from typing import Final

from sampan.schema import api, codec

# Specs are some two kilobytes each.
KNOWN_MOST: Final = 512
_TOKENS: Final = re.compile(rb'(?<=")kube-api-access-[a-z0-9]{5}(?=")')
# No JSON holds this byte: it stands for no name that somebody could write.
_ANY_TOKENS: Final = b"\x00"


def shape(spec: api.PodSpec) -> bytes | None:
    """What validity depends on: all but the node, and the letters drawn for the volume of the token.

    None where it depends on more than the spec: volumes that become claims are named after the pod.
    """
    if any(volume.ephemeral is not None for volume in spec.volumes):
        return None
    node, spec.nodeName = spec.nodeName, None
    try:
        data = codec.encode(spec)
    finally:
        spec.nodeName = node
    found = _TOKENS.search(data)
    # A second such name, which may not be the same, is left as it is.
    return data if found is None else data.replace(b'"' + found[0] + b'"', _ANY_TOKENS)


class KnownSpecs:
    """The shapes of the valid specs that came last."""

    def __init__(self, most: int = KNOWN_MOST) -> None:
        self._most = most
        self._shapes: dict[bytes, None] = {}

    def __contains__(self, shape: bytes | None) -> bool:
        return shape in self._shapes

    def add(self, shape: bytes | None) -> None:
        """Remember a shape; the one that came first is forgotten where there are too many."""
        if shape is None:
            return
        if len(self._shapes) >= self._most:
            del self._shapes[next(iter(self._shapes))]
        self._shapes[shape] = None
