"""Looks again and again at waiting pods and idle nodes, and carries out what the plans say.

What must outlast this process is in the cluster: since when a node is a candidate, and since when it is being
drained, stand in its taints. Back-off and the wait after growth are in memory alone, as upstream.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from sampan.autoscaler.nodes.coming import look_out
from sampan.autoscaler.nodes.config import Config, Group
from sampan.autoscaler.nodes.down import CANDIDATE, TO_BE_DELETED, plan_down, since, stays_behind, taint_of
from sampan.autoscaler.nodes.providers import Provider, ProviderError, delete_node
from sampan.autoscaler.nodes.up import Growth, Option, plan_up
from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.client.effects import Effect, Emit, Evict, Plan, Ref
from sampan.client.errors import ApiError
from sampan.client.events import Recorder
from sampan.client.executor import Executor
from sampan.client.informer import SharedInformers
from sampan.controllers.taints import is_ready
from sampan.kinds.core.phases import is_finished
from sampan.scheduler.profile import Profile
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.watching import KINDS
from sampan.schema import api

BACKOFF_MOST_S: Final = 1800.0
# A group that has not failed for so long begins with the shortest back-off again.
BACKOFF_RESET_S: Final = 3 * 3600.0
STATUS: Final = "cluster-autoscaler-status"
_log = logging.getLogger(__name__)


class NodeScaler:
    """Grows and shrinks the groups of a configuration."""

    def __init__(
        self,
        client: Client,
        informers: SharedInformers,
        clock: Clock,
        config: Config,
        providers: Mapping[str, Provider],
        choose: Callable[[int], int] = random.randrange,
        profiles: Sequence[Profile] = (),
        kinds: Sequence[type[Any]] = (),
    ) -> None:
        """`profiles` are the scheduler's, and `kinds` what those look at.

        Without any, it is taken to decide as it does unconfigured.
        """
        self._client = client
        self._clock = clock
        self._config = config
        self._providers = providers
        self._choose = choose
        self._informers = informers
        self._nodes = informers.of(api.Node)
        self._pods = informers.of(api.Pod)
        self._budgets = informers.of(api.PodDisruptionBudget)
        seen: tuple[type[Any], ...] = (*KINDS, api.DaemonSet, *kinds)
        self._others = {kind: informers.of(kind) for kind in dict.fromkeys(seen)}
        self.events = Recorder(client, clock, "cluster-autoscaler")
        self._executor = Executor(client, clock, recorder=self.events)
        self._profiles = tuple(profiles)
        self._seen: Mapping[str, float] = {}
        self._unhelped: dict[str, str] = {}
        self._backoff: dict[str, tuple[float, float]] = {}  # until when, and how long
        self._grew_s: float | None = None
        self._told = ""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.events.run())
            await self._informers.synced()
            while True:
                await self._clock.sleep(self._config.scan_interval_s)
                try:
                    await self.look()
                except (ApiError, ConnectionError, TimeoutError, ProviderError) as problem:
                    _log.warning("the cluster autoscaler looks again later: %s", problem)

    async def look(self) -> None:
        """Look once: finish what is being removed, grow, and where nothing grew, shrink."""
        members = await self._members()
        upcoming = await self._upcoming(members)
        await self._drain(members)
        await self._forget_machines(members)
        growth = self._growth(members, upcoming)
        await self._grow(growth)
        if growth.chosen is None and self._config.scale_down_enabled:
            await self._shrink(members, upcoming)
        await self._tell(members, upcoming)

    def _snapshot(self) -> Snapshot:
        others = {kind: list(informer.cache.items()) for kind, informer in self._others.items()}
        return Snapshot(list(self._nodes.cache.items()), list(self._pods.cache.items()), others)

    def _provider(self, group: Group) -> Provider:
        return self._providers[group.provider]

    async def _members(self) -> dict[str, list[str]]:
        """The nodes of each group that can be asked about; the others are left alone this time."""
        found: dict[str, list[str]] = {}
        for group in self._config.groups:
            try:
                found[group.name] = await self._provider(group).nodes(group)
            except (ProviderError, ApiError) as problem:
                _log.warning("node group %s is left alone: %s", group.name, problem)
        return found

    async def _upcoming(self, members: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
        """Nodes that are on their way. Those that take too long are given up, and their group backs off."""
        nodes = {n.metadata.name or "": n for n in self._nodes.cache.items()}
        now = self._clock.now()
        found = look_out(self._config, members, nodes, self._seen, now, self._clock.monotonic_s())
        self._seen = found.seen
        groups = {group.name: group for group in self._config.groups}
        for name in found.arrived:
            self._backoff.pop(name, None)
        for group, name in found.stuck:
            _log.warning("node %s of group %s did not become Ready in time", name, group)
            self._back_off(groups[group])
        for group, name in found.late:
            _log.warning("node %s of group %s did not come in time: it is given up", name, group)
            self._back_off(groups[group])
            try:
                await self._provider(groups[group]).delete(groups[group], [name])
            except (ProviderError, ApiError) as problem:
                _log.warning("node %s could not be given up, which is tried again: %s", name, problem)
            else:
                members[group].remove(name)
        return dict(found.upcoming)

    def _growth(self, members: Mapping[str, Sequence[str]], upcoming: Mapping[str, Sequence[str]]) -> Growth:
        now = self._clock.monotonic_s()
        held = {name for name, (until, _) in self._backoff.items() if until > now}
        groups = tuple(g for g in self._config.groups if g.name in members)
        sizes = {name: len(names) for name, names in members.items()}
        config = replace(self._config, groups=groups)
        world, choose = self._snapshot(), self._choose
        return plan_up(world, config, sizes, upcoming, frozenset(held), choose, self._profiles)

    async def _grow(self, growth: Growth) -> None:
        unhelped = {pod.metadata.uid or "": (pod, why) for pod, why in growth.unhelped}
        events: list[Effect] = [
            Emit(_ref(pod, "Pod"), "Normal", "NotTriggerScaleUp", why)
            for uid, (pod, why) in unhelped.items()
            if self._unhelped.get(uid) != why
        ]
        self._unhelped = {uid: why for uid, (_, why) in unhelped.items()}
        option = growth.chosen
        if option is not None:
            events += await self._increase(option)
        await self._executor.carry_out(Plan(effects=tuple(events)))

    async def _increase(self, option: Option) -> list[Effect]:
        group = option.group
        try:
            await self._provider(group).increase(group, option.count)
        except (ProviderError, ApiError) as problem:
            _log.warning("node group %s did not grow: %s", group.name, problem)
            self._back_off(group)
            return [
                Emit(_ref(p, "Pod"), "Warning", "FailedToScaleUpGroup", f"Scale-up failed: {problem}")
                for p in option.pods
            ]
        self._grew_s = self._clock.monotonic_s()
        size = f"{group.name} {option.count} more (max: {group.max})"
        return [
            Emit(_ref(p, "Pod"), "Normal", "TriggeredScaleUp", f"pod triggered scale-up: [{size}]")
            for p in option.pods
        ]

    def _back_off(self, group: Group) -> None:
        """Let the group not grow for a while: twice as long as the last time, unless that was long ago."""
        now = self._clock.monotonic_s()
        until, length = self._backoff.get(group.name, (now, 0.0))
        if until > now:
            return
        if now - until > BACKOFF_RESET_S:
            length = 0.0
        length = min(max(2 * length, self._config.initial_node_group_backoff_s), BACKOFF_MOST_S)
        self._backoff[group.name] = (now + length, length)

    async def _shrink(
        self, members: Mapping[str, Sequence[str]], upcoming: Mapping[str, Sequence[str]]
    ) -> None:
        grown = self._grew_s
        delay_s = self._config.scale_down_delay_after_add_s
        if grown is not None and self._clock.monotonic_s() - grown < delay_s:
            return
        now = self._clock.now()
        budgets = list(self._budgets.cache.items())
        plan = plan_down(self._snapshot(), self._config, members, upcoming, budgets, now, self._profiles)
        stamp = str(int(now.timestamp()))
        for name in plan.mark:
            taint = api.Taint(key=CANDIDATE, value=stamp, effect="PreferNoSchedule")
            await self._taint(name, (CANDIDATE,), taint)
        for name in plan.unmark:
            await self._taint(name, (CANDIDATE,), None)
        for name in plan.drain:
            taint = api.Taint(key=TO_BE_DELETED, value=stamp, effect="NoSchedule")
            await self._taint(name, (TO_BE_DELETED,), taint, "marked the node as toBeDeleted/unschedulable")

    async def _drain(self, members: dict[str, list[str]]) -> None:
        """Evict what is left on nodes that go; remove those that are empty, and take them off `members`."""
        for group in self._config.groups:
            for name in list(members.get(group.name, ())):
                node = self._nodes.cache.get("", name)
                taint = taint_of(node, TO_BE_DELETED) if node is not None else None
                if node is None or taint is None:
                    continue
                left = [p for p in self._pods.cache.items() if p.spec.nodeName == name]
                left = [p for p in left if not is_finished(p) and not stays_behind(p)]
                if not left:
                    if await self._delete(group, node):
                        members[group.name].remove(name)
                elif self._clock.now().timestamp() - since(taint) > self._config.max_graceful_termination_s:
                    await self._spare(node, "failed to drain the node in time")
                else:
                    await self._evict(left)

    async def _delete(self, group: Group, node: api.Node) -> bool:
        """Have the provider delete a node; one that it does not delete stays, for its whole time again."""
        try:
            await self._provider(group).delete(group, [node.metadata.name or ""])
        except (ProviderError, ApiError) as problem:
            _log.warning("node %s is not deleted: %s", node.metadata.name, problem)
            await self._spare(node, f"failed to delete the node: {problem}")
            return False
        await self._event(node, "Normal", "ScaleDown", "node removed by cluster autoscaler")
        return True

    async def _spare(self, node: api.Node, why: str) -> None:
        """A node that was to go stays."""
        await self._event(node, "Warning", "ScaleDownFailed", why)
        await self._taint(node.metadata.name or "", (CANDIDATE, TO_BE_DELETED), None)

    async def _forget_machines(self, members: Mapping[str, Sequence[str]]) -> None:
        """Delete the objects of nodes whose machines were deleted by a process that ended right after it.

        Such a node is marked as to be deleted, fell silent, and is in no group. Where a group could not be
        asked, it may be that one's.
        """
        if len(members) < len(self._config.groups):
            return
        known = {name for names in members.values() for name in names}
        for node in list(self._nodes.cache.items()):
            name = node.metadata.name or ""
            if name not in known and taint_of(node, TO_BE_DELETED) is not None and not is_ready(node):
                _log.warning("node %s is in no group any more: its object is deleted", name)
                await delete_node(self._client, name)

    async def _evict(self, pods: Sequence[api.Pod]) -> None:
        """Ask for each pod's eviction. One that a budget holds is asked for again at the next look."""
        for pod in pods:
            if pod.metadata.deletionTimestamp is None:
                told = Emit(_ref(pod, "Pod"), "Normal", "ScaleDown", "deleting pod for node scale down")
                await self._executor.carry_out(Plan(effects=(Evict(_ref(pod, "Pod")), told)))

    async def _taint(self, name: str, keys: Sequence[str], taint: api.Taint | None, told: str = "") -> None:
        """Exchange the taints of these keys; a node that somebody changes meanwhile is looked at again."""
        node = await self._client.get(api.Node, name)
        kept = [t for t in node.spec.taints if t.key not in keys] + ([taint] if taint is not None else [])
        await self._client.update(replace(node, spec=replace(node.spec, taints=kept)))
        if told:
            await self._event(node, "Normal", "ScaleDown", told)

    async def _event(self, node: api.Node, kind: str, reason: str, message: str) -> None:
        await self._executor.carry_out(Plan(effects=(Emit(_ref(node, "Node"), kind, reason, message),)))

    async def _tell(
        self, members: Mapping[str, Sequence[str]], upcoming: Mapping[str, Sequence[str]]
    ) -> None:
        """Write the status ConfigMap where it says something else than before."""
        now = self._clock.monotonic_s()
        lines = ["autoscalerStatus: Running", "nodeGroups:" if self._config.groups else "nodeGroups: []"]
        for group in self._config.groups:
            names = members.get(group.name)
            health = "Unhealthy" if names is None else "Healthy"
            held = self._backoff.get(group.name, (0.0, 0.0))[0] > now
            lines += [
                f"- name: {group.name}",
                f"  health: {{status: {health}, cloudProviderTarget: {len(names or ())}, "
                f"notStarted: {len(upcoming.get(group.name, ()))}, "
                f"minSize: {group.min}, maxSize: {group.max}}}",
                f"  scaleUp: {{status: {'Backoff' if held else 'NoActivity'}}}",
            ]
        text = "\n".join(lines) + "\n"
        if text == self._told:
            return
        stamp = self._clock.now().strftime("%Y-%m-%d %H:%M:%S UTC")
        meta = api.ObjectMeta(
            name=STATUS,
            namespace="kube-system",
            annotations={"cluster-autoscaler.kubernetes.io/last-updated": stamp},
        )
        await self._client.apply(api.ConfigMap(metadata=meta, data={"status": text}), "cluster-autoscaler")
        self._told = text


def _ref(obj: Any, kind: str) -> Ref:
    meta = obj.metadata
    return Ref("v1", kind, meta.namespace or "", meta.name or "", uid=meta.uid or "")
