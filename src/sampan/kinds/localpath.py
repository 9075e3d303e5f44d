"""The words by which the local-path provisioner and the nodes agree: volumes that are directories."""

from __future__ import annotations

from typing import Final

PROVISIONER: Final = "sampan.io/local-path"
CLASS_NAME: Final = "local-path"
# On a Node: the directory below which its volumes are. A node without it has none.
NODE_DIRECTORY: Final = "sampan.io/local-path-directory"
# On a volume: a label that finds them all, and an annotation with the name of its node.
VOLUME_LABEL: Final = "sampan.io/local-path"
VOLUME_NODE: Final = "sampan.io/local-path-node"
# Held until the node has removed the data, where the reclaim policy wants that.
FINALIZER: Final = "sampan.io/local-path"
