"""Plugins that other distributions bring, found through their entry points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, Final

from sampan.scheduler.framework import Plugin
from sampan.scheduler.registry import PLUGINS, Make, PluginError

# An entry point of this group has the plugin's name, and leads to a Plugin class that is made without
# arguments, or to a function that makes one of its pluginConfig args.
GROUP: Final = "sampan.scheduler.plugins"


def installed(found: Iterable[metadata.EntryPoint] | None = None) -> dict[str, Make]:
    """The plugins of installed distributions by name. None is imported before a configuration enables it.

    Raises PluginError for a name that is there twice, or that is one of the built-in ones.
    """
    known: dict[str, metadata.EntryPoint] = {}
    for entry in metadata.entry_points(group=GROUP) if found is None else found:
        if entry.name in PLUGINS:
            raise PluginError(f"{_who(entry)} has the name of a built-in plugin; it must have another")
        other = known.get(entry.name)
        if other is not None and other.value != entry.value:
            raise PluginError(f"{_who(entry)} and {_who(other)} have the same name; uninstall one of them")
        known[entry.name] = entry
    return {name: _maker(entry) for name, entry in known.items()}


def _maker(entry: metadata.EntryPoint) -> Make:
    def make(args: Mapping[str, Any]) -> Plugin:
        try:
            loaded = entry.load()
        except Exception as problem:
            raise PluginError(f"{_who(entry)} cannot be loaded: {problem}") from problem
        if isinstance(loaded, type) and issubclass(loaded, Plugin):
            more = sorted(args.keys() - {"apiVersion", "kind"})
            if more:
                raise PluginError(f"{_who(entry)} has no args; remove {', '.join(more)}")
            plugin: Any = loaded()
        else:
            plugin = _made(entry, loaded, args)
        if not isinstance(plugin, Plugin):
            raise PluginError(f"{_who(entry)} is no Plugin but a {type(plugin).__name__}")
        if plugin.name != entry.name:
            raise PluginError(f"{_who(entry)} calls itself {plugin.name!r}; both names must be the same")
        return plugin

    return make


def _made(entry: metadata.EntryPoint, make: Any, args: Mapping[str, Any]) -> Any:
    try:
        return make(args)
    except (ValueError, TypeError, KeyError):
        raise  # about the args
    except Exception as problem:
        raise PluginError(f"{_who(entry)} cannot be made: {type(problem).__name__}: {problem}") from problem


def _who(entry: metadata.EntryPoint) -> str:
    owner = f" of {entry.dist.name}" if entry.dist is not None else ""
    return f"the plugin {entry.name!r}{owner} ({entry.value})"
