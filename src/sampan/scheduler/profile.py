"""The plugins that decide for the pods of one schedulerName. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sampan.scheduler.framework import Plugin


class Profile(msgspec.Struct, frozen=True):
    """The plugins of one schedulerName, in their order; scoring ones with their weights."""

    name: str = "default-scheduler"
    filters: tuple[Plugin, ...] = ()
    scorers: tuple[tuple[Plugin, int], ...] = ()
    preempts: bool = True
    preemption_share: float = 0.10
    preemption_least: int = 100
    by_deadline: bool = False
    # Plugins that take part only between decision and binding.
    hooked: tuple[Plugin, ...] = ()
    percentage_scored: int = 0  # of the nodes that will do; 0 for all (percentageOfNodesToScore)

    @property
    def plugins(self) -> Iterable[Plugin]:
        """Each plugin once."""
        return dict.fromkeys((*self.filters, *(plugin for plugin, _ in self.scorers)))

    @property
    def all_plugins(self) -> Iterable[Plugin]:
        """Each plugin once, those that neither filter nor score included."""
        return dict.fromkeys((*self.plugins, *self.hooked))


def without(profile: Profile, kind: type[Plugin]) -> Profile:
    """The profile without the plugins of a class."""
    return msgspec.structs.replace(
        profile,
        filters=tuple(p for p in profile.filters if not isinstance(p, kind)),
        scorers=tuple((p, w) for p, w in profile.scorers if not isinstance(p, kind)),
        hooked=tuple(p for p in profile.hooked if not isinstance(p, kind)),
    )
