"""What plugins do between the decision and the binding: hold the pod back, prepare its node, take back.

As kube-scheduler's Reserve, Permit, PreBind and PostBind. Plugins of one profile are asked in their order; to
take back, in the opposite one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from sampan.base.clock import Clock
from sampan.base.errors import SampanError
from sampan.base.waiting import set_or_done
from sampan.client.client import Client
from sampan.scheduler.framework import Plugin, Refused
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.world import World
from sampan.schema import api

# The longest that a plugin may hold a pod back, as upstream.
MOST_PERMIT_S: Final = 900.0

_log = logging.getLogger(__name__)


class HookError(SampanError):
    """A plugin failed; the text says which, where and how."""


class Turned(SampanError):
    """A plugin refused the pod after all. `plugin` is its name."""

    def __init__(self, plugin: str, text: str) -> None:
        super().__init__(text)
        self.plugin = plugin


class Hooks:
    """Of one profile; false where none of its plugins takes part."""

    def __init__(self, plugins: Sequence[Plugin], client: Client, clock: Clock, world: World) -> None:
        self._permitting = [p for p in plugins if p.overrides("permit")]
        self._binding = [p for p in plugins if p.overrides("pre_bind")]
        self._after = [p for p in plugins if p.overrides("post_bind")]
        self._reserving = [p for p in reversed(plugins) if p.overrides("unreserve")]
        self._client = client
        self._clock = clock
        self._world = world
        self._waiting: set[asyncio.Event] = set()

    def changed(self) -> None:
        """A pod changed: one that is held back may be gone."""
        for event in self._waiting:
            event.set()

    def __bool__(self) -> bool:
        return bool(self._permitting or self._binding or self._after or self._reserving)

    async def permit(self, pod: PodInfo, node: api.Node, is_wanted: Callable[[], bool]) -> None:
        """Wait until every plugin lets the pod go. Raises Turned and HookError."""
        for plugin in self._permitting:
            limit_s = min(plugin.permit_timeout_s, MOST_PERMIT_S)
            word = asyncio.ensure_future(plugin.permit(pod, node, self._client))
            timer = asyncio.create_task(self._clock.sleep(limit_s))
            try:
                await self._heard(word, timer, is_wanted)
            finally:
                word.cancel()
                timer.cancel()
            if not word.done():
                text = f"rejected due to timeout after waiting {limit_s:g}s at plugin {plugin.name}"
                raise Turned(plugin.name, text)
            try:
                word.result()
            except Refused as refusal:
                raise Turned(plugin.name, str(refusal)) from None
            except Exception as problem:
                raise HookError(f'running Permit plugin "{plugin.name}": {problem}') from problem

    async def _heard(
        self, word: asyncio.Future[None], timer: asyncio.Task[None], is_wanted: Callable[[], bool]
    ) -> None:
        """Wait for the plugin's word or the end of the time. Raises HookError where the pod goes first."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            while not word.done() and not timer.done():
                event.clear()
                await set_or_done(event, word, timer)
                if not is_wanted():
                    raise HookError("the pod is gone")
        finally:
            self._waiting.discard(event)

    async def pre_bind(self, pod: PodInfo, node: api.Node) -> None:
        """Have every plugin prepare the binding. Raises Turned and HookError."""
        for plugin in self._binding:
            try:
                await plugin.pre_bind(pod, node, self._client)
            except Refused as word:
                raise Turned(plugin.name, str(word)) from None
            except Exception as problem:
                raise HookError(f'running PreBind plugin "{plugin.name}": {problem}') from problem

    async def post_bind(self, pod: PodInfo, node: api.Node) -> None:
        """Tell every plugin that the pod is bound."""
        for plugin in self._after:
            try:
                await plugin.post_bind(pod, node, self._client)
            except Exception:
                _log.exception("the plugin %s failed after %s/%s was bound", plugin.name, *pod.key)

    def unreserve(self, pod: PodInfo, node: api.Node) -> None:
        """Tell every plugin that the pod does not get the node after all."""
        for plugin in self._reserving:
            try:
                plugin.unreserve(pod, node, self._world)
            except Exception:
                _log.exception("the plugin %s failed to take %s/%s back", plugin.name, *pod.key)
