"""Versions whose objects have another shape than those that are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from sampan.kinds.core.event import KIND as CORE_EVENT
from sampan.kinds.groups import events
from sampan.kinds.groups.autoscaling import v1, v2
from sampan.kinds.kind import Kind


class Conversion(msgspec.Struct, frozen=True):
    """How one served version of a kind becomes the stored one and comes back.

    `to_hub` and `from_hub` take a struct of the one version and give a struct of the other; neither changes
    what it is given. Objects are stored under the hub's key, and one object has one revision in all versions.
    A request in the served version is decoded, defaulted with the served kind, converted, then defaulted,
    validated and stored with the hub's kind.
    """

    served: Kind
    hub: Kind
    to_hub: Callable[[Any], Any]
    from_hub: Callable[[Any], Any]


CONVERSIONS: Final[tuple[Conversion, ...]] = (
    Conversion(served=v1.KIND, hub=v2.KIND, to_hub=v1.to_hub, from_hub=v1.from_hub),
    Conversion(served=events.KIND, hub=CORE_EVENT, to_hub=events.to_hub, from_hub=events.from_hub),
)
_BY_SERVED: Final = {(c.served.api_version, c.served.kind): c for c in CONVERSIONS}


def conversion(kind: Kind) -> Conversion | None:
    """The conversion of a served kind into the one that is stored; None where it is stored as it is."""
    return _BY_SERVED.get((kind.api_version, kind.kind))
