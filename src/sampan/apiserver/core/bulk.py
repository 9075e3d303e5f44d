"""What a client in the server's own process asks for many times at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from sampan.apiserver.core import bindings, deletions, paths
from sampan.apiserver.core.admission.topology import Places
from sampan.apiserver.core.aggregation.aggregator import Aggregator
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.resource import Resources
from sampan.apiserver.core.together import Answer, Handle, Together, Wanted
from sampan.apiserver.core.users import User
from sampan.base.clock import Clock
from sampan.client.transport import Bind
from sampan.schema import api


class Bulk:
    """Bindings, changes and deletions, carried out together where each is an ordinary one.

    `handle` answers those that are not, and all of them where `audits` says that requests are written down.
    """

    def __init__(
        self,
        together: Together,
        resources: Resources,
        aggregator: Aggregator,
        clock: Clock,
        handle: Handle,
        audits: Callable[[], bool],
    ) -> None:
        self._together = together
        self._resources = resources
        self._places = Places(resources.of(api.Node))
        self._aggregator = aggregator
        self._clock = clock
        self._handle = handle
        self._audits = audits

    async def bind(self, user: User, agent: str, wanted: Sequence[Bind]) -> list[Answer]:
        """Many bindings of one scheduler in this process: None for each that is made, else the refusal."""
        pods, now = self._resources.of(api.Pod), self._clock.now().replace(microsecond=0)
        alone = self._audits() or any(not bind.node for bind in wanted)
        together = [bindings.wanted(pods, self._places, user, agent, bind, now) for bind in wanted]
        return await self._together.carry_out(user, agent, together, self._handle, alone=alone)

    async def change(self, requests: Sequence[Request]) -> list[Answer]:
        """Many PATCHes by `change` of one user in this process: None for each that is made, else the refusal.

        They must be of one user and one agent.
        """
        user, agent = requests[0].user, requests[0].headers.get("user-agent", "unknown")
        together = [each for each in map(self._change, requests) if each is not None]
        if user is None or len(together) < len(requests):
            answers = await asyncio.gather(*map(self._handle, requests))
            return [answer if answer.status >= 300 else None for answer in answers]
        return await self._together.carry_out(user, agent, together, self._handle, alone=self._audits())

    def _change(self, request: Request) -> Wanted | None:
        """What is to be changed; None where that is not for this server to say in short."""
        target = paths.parse(request.method, request.path, False)
        if target is None or request.change is None:
            return None
        resource = self._resources.find(target.group, target.version, target.plural)
        if resource is None or self._aggregator.find(request.path) is not None:
            return None
        if target.subresource and "patch" not in resource.subresources.get(target.subresource, ()):
            return None
        again = partial(msgspec.structs.replace, request)
        return Wanted(resource, target, request.method, request.change, again)

    async def delete(self, user: User, agent: str, wanted: Sequence[tuple[str, str]]) -> list[Answer]:
        """Many deletions without grace, by path and uid: None for each that is made, else the refusal."""
        together = [deletions.wanted(self._resources, user, agent, path, uid) for path, uid in wanted]
        alone = self._audits() or any(self._aggregator.find(path) is not None for path, _ in wanted)
        return await self._together.carry_out(user, agent, together, self._handle, alone=alone)
