"""Whether endpoints may be loopback addresses.

Kubernetes refuses them: through them a user would reach what only the node itself may. Where pods are the
host's own processes they have no other addresses, and nobody gains anything; the composition root of such a
cluster says so, once, before anything is served.
"""

from __future__ import annotations


class LoopbackEndpoints:
    """A switch of the whole process."""

    allowed = False
