"""A real cluster in your test's own process: `with sampan.testing.Cluster() as c:`."""

from __future__ import annotations

from sampan.testing.cluster import Cluster

__all__ = ["Cluster"]
