from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sampan.client.effects import RemoveAll, Update, UpdateStatus
from sampan.client.executor import Failure
from sampan.client.resources import Partial, Resource
from sampan.controllers import serviceaccount
from sampan.controllers.namespace import CONTROLLER, Content, View, plan
from sampan.controllers.runtime.controller import Controller, Key
from sampan.schema import api
from tests.fakes.bench import Bench
from tests.fakes.managed import managed
from tests.fakes.waiting import run, until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PODS = Resource("v1", "Pod", "pods", True, Partial)
MAPS = Resource("v1", "ConfigMap", "configmaps", True, Partial)


def namespace() -> api.Namespace:
    return api.Namespace(
        metadata=api.ObjectMeta(name="shop", uid="n", deletionTimestamp=NOW, resourceVersion="1"),
        spec=api.NamespaceSpec(finalizers=["kubernetes"]),
    )


def left(resource: Resource[Partial], name: str, *finalizers: str, deleting: bool = False) -> Content:
    meta = api.ObjectMeta(
        name=name,
        namespace="shop",
        uid=name,
        finalizers=list(finalizers),
        deletionTimestamp=NOW if deleting else None,
    )
    return Content(resource, (Partial(metadata=meta),))


def test_pods_go_first() -> None:
    found = plan(View(namespace(), content=(left(MAPS, "m"), left(PODS, "p"))), NOW)
    assert [e.kind for e in found.effects if isinstance(e, RemoveAll)] == ["Pod"]
    found = plan(View(namespace(), content=(left(MAPS, "m"), left(PODS, "p", deleting=True))), NOW)
    assert [e for e in found.effects if isinstance(e, RemoveAll)] == []
    assert "1 pods" in found.waiting_for


def test_what_remains_and_why_is_said_in_conditions() -> None:
    held = left(MAPS, "m", "example.com/hold", deleting=True)
    (effect,) = plan(View(namespace(), content=(held,)), NOW).effects
    assert isinstance(effect, UpdateStatus)
    told = {c.type: (c.status, c.reason, c.message) for c in effect.obj.status.conditions}
    assert told["NamespaceContentRemaining"] == (
        "True",
        "SomeResourcesRemain",
        "Some resources are remaining: configmaps. has 1 resource instances",
    )
    assert told["NamespaceFinalizersRemaining"][2] == (
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    )
    assert told["NamespaceDeletionDiscoveryFailure"][0] == "False"
    assert effect.obj.status.phase == "Terminating"
    assert plan(View(effect.obj, content=(held,)), NOW).effects == ()


def test_what_cannot_be_deleted_is_said() -> None:
    refused = Failure(RemoveAll("v1", "ConfigMap", "shop"), ConnectionError("a webhook says no"))
    status, again = plan(View(namespace(), content=(left(MAPS, "m"),), failure=refused), NOW).effects
    assert isinstance(status, UpdateStatus)
    assert isinstance(again, RemoveAll)
    told = {c.type: (c.status, c.reason, c.message) for c in status.obj.status.conditions}
    assert told["NamespaceDeletionContentFailure"] == (
        "True",
        "ContentDeletionFailed",
        "Failed to delete all resource types, 1 remaining: a webhook says no",
    )


def test_an_empty_namespace_is_finalized() -> None:
    (effect,) = plan(View(namespace()), NOW).effects
    assert isinstance(effect, Update)
    assert (effect.subresource, effect.obj.spec.finalizers) == ("finalize", [])


def test_a_namespace_is_kept_while_discovery_fails() -> None:
    found = plan(View(namespace(), failed=("metrics.k8s.io/v1",)), NOW)
    assert not any(isinstance(effect, Update) for effect in found.effects)
    assert found.requeue_after_s is not None


def test_a_namespace_goes_with_all_that_is_in_it() -> None:
    async def main() -> None:
        async with managed((CONTROLLER, *_basics())) as cluster:
            made = api.Namespace(
                metadata=api.ObjectMeta(name="shop"), spec=api.NamespaceSpec(finalizers=["kubernetes"])
            )
            await cluster.client.create(made)
            await until(lambda: len(cluster.server.of_kind("ConfigMap")) == 1)
            for kind in (api.Pod, api.Secret, api.Service, api.Deployment, api.Role, api.Event):
                meta = api.ObjectMeta(name="thing", namespace="shop")
                await cluster.client.create(kind(metadata=meta))
            bound = api.Pod(
                metadata=api.ObjectMeta(name="bound", namespace="shop"), spec=api.PodSpec(nodeName="n")
            )
            await cluster.client.create(bound)
            await cluster.quiet()
            await cluster.client.delete(api.Namespace, "shop")
            await cluster.quiet()
            assert cluster.server.of_kind("Secret")  # waits for the pod that is stopping
            cluster.server.drop("/api/v1/namespaces/shop/pods/bound")
            await cluster.clock.advance(1)
            await until(lambda: not cluster.server.objects)

    run(main())


def _basics() -> tuple[Controller, ...]:
    return serviceaccount.ACCOUNTS, serviceaccount.root_ca("PEM")


@pytest.mark.conformance("ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace")
def test_every_namespace_has_a_default_account_and_the_ca() -> None:
    async def main() -> None:
        async with managed(_basics()) as cluster:
            await cluster.client.create(api.Namespace(metadata=api.ObjectMeta(name="shop")))
            await until(lambda: cluster.server.of_kind("ConfigMap"))
            (found,) = cluster.server.of_kind("ConfigMap")
            assert (found["metadata"]["name"], found["data"]) == ("kube-root-ca.crt", {"ca.crt": "PEM"})
            await cluster.quiet()
            await cluster.client.delete(api.ServiceAccount, "default", "shop")
            await cluster.client.patch(
                api.ConfigMap, "kube-root-ca.crt", "shop", {"data": {"ca.crt": "x", "y": "z"}}
            )
            await cluster.quiet()
            assert len(cluster.server.of_kind("ServiceAccount")) == 1
            (found,) = cluster.server.of_kind("ConfigMap")
            assert found["data"] == {"ca.crt": "PEM"}
            await cluster.client.delete(api.ConfigMap, "kube-root-ca.crt", "shop")
            await until(lambda: cluster.server.of_kind("ConfigMap"))

    run(main())


def test_planning_again_for_a_namespace_changes_nothing() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(api.Namespace(metadata=api.ObjectMeta(name="shop")))
        for controller in _basics():
            assert await bench.settle(controller, Key("", "shop")) == 1

    run(main())
