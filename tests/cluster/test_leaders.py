"""Several managers, one of which leads: another takes over when it dies; what it still sends is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from sampan.apiserver.core.users import ADMIN
from sampan.apiserver.direct import DirectTransport
from sampan.client.client import Client
from sampan.client.errors import ApiError
from sampan.client.leases import DURATION_S, Elector
from sampan.client.transport import Reply
from sampan.controllers.catalog import controllers
from sampan.controllers.runtime.manager import Manager
from sampan.schema import api
from sampan.testing import Cluster

NAME = "kube-controller-manager"


class Cable:
    """A transport that can be cut."""

    def __init__(self, cluster: Cluster) -> None:
        self._inner = DirectTransport(cluster.server, ADMIN)
        self.cut = False

    async def request(self, *args: Any, **kwargs: Any) -> Reply:
        if self.cut:
            raise ConnectionError("the cable is cut")
        return await self._inner.request(*args, **kwargs)

    def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        return self._inner.stream(path, query)

    async def close(self) -> None:
        return None


class Candidate:
    """A process that stands for election. Its election goes over a cable, its work as a leader does not."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cable = Cable(cluster)
        self.elector = Elector(Client(self.cable), cluster.clock, name, NAME)
        self.writer = Client(self.elector.fence(DirectTransport(cluster.server, ADMIN)))
        self.manager = Manager(self.writer, cluster.clock, controllers())
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.task = asyncio.create_task(self.elector.run(self.manager.run))
        await asyncio.sleep(0)

    async def kill(self) -> None:
        """End without a word: the lease is not given back."""
        self.cable.cut = True
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def note(name: str) -> api.ConfigMap:
    return api.ConfigMap(metadata=api.ObjectMeta(name=name, namespace="default"))


def deployment(name: str) -> api.Deployment:
    template = api.PodTemplateSpec(
        metadata=api.ObjectMeta(labels={"app": name}),
        spec=api.PodSpec(containers=[api.Container(name="c", image="web:1")]),
    )
    selector = api.LabelSelector(matchLabels={"app": name})
    return api.Deployment(
        metadata=api.ObjectMeta(name=name, namespace="default"),
        spec=api.DeploymentSpec(replicas=3, selector=selector, template=template),
    )


def available(cluster: Cluster, name: str) -> int:
    return cluster.client.get(api.Deployment, name, "default").status.availableReplicas or 0


def test_another_manager_takes_over_when_the_leader_dies() -> None:
    with Cluster(controllers=False) as cluster:
        one, other = Candidate(cluster, "one"), Candidate(cluster, "other")
        cluster.call(one.start())
        cluster.wait_until(lambda: one.elector.is_leader)
        cluster.call(other.start())
        cluster.client.create(deployment("first"))
        cluster.wait_until(lambda: available(cluster, "first") == 3)
        assert not other.elector.is_leader
        cluster.call(one.kill())
        began = cluster.now()
        cluster.client.create(deployment("second"))
        cluster.wait_until(lambda: available(cluster, "second") == 3)
        assert other.elector.is_leader
        assert (cluster.now() - began).total_seconds() < DURATION_S + 10
        lease = cluster.client.get(api.Lease, NAME, "kube-system")
        assert (lease.spec.holderIdentity, lease.spec.leaseTransitions) == ("other", 1)
        cluster.call(other.kill())


def test_what_a_deposed_leader_still_sends_is_refused() -> None:
    with Cluster(controllers=False, nodes=0) as cluster:
        one, other = Candidate(cluster, "one"), Candidate(cluster, "other")
        with pytest.raises(ConnectionError, match="before the election"):
            cluster.call(one.writer.create(note("too-early")))
        cluster.call(one.start())
        cluster.wait_until(lambda: one.elector.is_leader)
        cluster.call(other.start())
        cluster.call(one.writer.create(note("in-time")))
        one.cable.cut = True
        cluster.wait_until(lambda: other.elector.is_leader)
        refused = "one no longer holds the lease kube-system/kube-controller-manager: other leads"
        for late in (
            lambda: one.writer.create(note("late")),
            lambda: one.writer.patch(api.ConfigMap, "in-time", "default", {"data": {"a": "b"}}),
            lambda: one.writer.delete(api.ConfigMap, "in-time", "default"),
            lambda: one.writer.delete_all(api.ConfigMap, "default"),
        ):
            with pytest.raises(ApiError, match=refused) as caught:
                cluster.call(late())
            assert caught.value.code == 409
        assert cluster.client.get(api.ConfigMap, "in-time", "default").data == {}
        cluster.call(other.writer.create(note("of-the-new-leader")))
        cluster.call(other.kill())
        cluster.call(one.kill())


def test_a_write_under_way_while_the_lease_changes_hands_is_refused() -> None:
    with Cluster(controllers=False, nodes=0) as cluster:
        one = Candidate(cluster, "one")
        cluster.call(one.start())
        cluster.wait_until(lambda: one.elector.is_leader)
        commit = cluster.store.commit
        taken = []

        async def slowly(guards: Any, ops: Any) -> Any:
            if not taken and any("late" in op.key for op in ops):
                taken.append(True)
                admin = Client(DirectTransport(cluster.server, ADMIN))
                change = {"spec": {"holderIdentity": "other", "leaseTransitions": 9}}
                await admin.patch(api.Lease, NAME, "kube-system", change)
            return await commit(guards, ops)

        cluster.store.commit = slowly  # type: ignore[method-assign]
        with pytest.raises(ApiError, match="other leads"):
            cluster.call(one.writer.create(note("late")))
        assert taken
        cluster.call(one.kill())


def test_renewing_does_not_get_in_the_way_of_writing() -> None:
    with Cluster(controllers=False, nodes=0) as cluster:
        one = Candidate(cluster, "one")
        cluster.call(one.start())
        cluster.wait_until(lambda: one.elector.is_leader)

        async def both() -> None:
            admin = Client(DirectTransport(cluster.server, ADMIN))
            await asyncio.gather(
                *(one.writer.create(note(f"n{number}")) for number in range(40)),
                *(
                    admin.patch(
                        api.Lease, NAME, "kube-system", {"spec": {"renewTime": f"2026-01-01T00:00:{n}.0Z"}}
                    )
                    for n in range(10, 50)
                ),
            )

        cluster.call(both())
        notes = cluster.client.list(api.ConfigMap, "default")
        assert sum(one.metadata.name.startswith("n") for one in notes) == 40
        cluster.call(one.kill())


def test_a_fence_that_is_none_is_refused() -> None:
    with Cluster(controllers=False, nodes=0, scheduler=False) as cluster:
        path = "/api/v1/namespaces/default/configmaps"
        body = b'{"metadata":{"name":"x"}}'
        transport = cluster.async_client.transport
        reply = cluster.call(transport.request("POST", path, {"fencingLease": "a/b"}, body))
        assert reply.status == 400
        reply = cluster.call(transport.request("POST", path, {"fencingLease": "a/b/0/me"}, body))
        assert reply.status == 409
        assert b"it is gone" in reply.body
