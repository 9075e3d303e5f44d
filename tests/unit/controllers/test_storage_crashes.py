"""Storage and network controllers whose process ends between any two effects of a plan go on from there."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pytest

from sampan.client.effects import Plan
from sampan.controllers import loadbalancer, servicecidr
from sampan.controllers.endpointslice import mirroring
from sampan.controllers.runtime.controller import Controller, Key
from sampan.controllers.storage import attachment, ephemeral, expansion, protection
from sampan.machinery.quantity import quantity
from sampan.schema import api
from tests.fakes.bench import Bench, key
from tests.fakes.waiting import run
from tests.unit.controllers import test_attachment as attaching
from tests.unit.controllers import test_endpointslice as slices
from tests.unit.controllers import test_loadbalancer as balancing
from tests.unit.controllers.test_storage import claim, node, pod, volume


def balanced() -> list[Any]:
    return [balancing.service()]


def leaving() -> list[Any]:
    one = balancing.service(type="ClusterIP")
    one.metadata.finalizers = [loadbalancer.FINALIZER]
    one.status.loadBalancer = api.LoadBalancerStatus(ingress=[api.LoadBalancerIngress(ip="10.9.0.1")])
    return [one]


def mirrored() -> list[Any]:
    endpoints = slices.own_endpoints("10.9.0.1", "fd00::1")
    owner = slices.service(selector={})
    owner.apiVersion, owner.kind = "v1", "Service"
    return [owner, endpoints]


def attached() -> list[Any]:
    return [claim(volumeName="disk"), attaching.volume(), node("n1"), pod(on="n1")]


def grown() -> list[Any]:
    one = claim(
        size="2Gi", volumeName="disk", status={"phase": "Bound", "capacity": {"storage": quantity("1Gi")}}
    )
    mark = {"pv.kubernetes.io/provisioned-by": "sampan.io/local-path"}
    reference = api.ObjectReference(namespace="default", name="data", uid="uid-data")
    return [one, volume(claimRef=reference, annotations=mark)]


def scratch() -> list[Any]:
    one = pod()
    template = api.PersistentVolumeClaimTemplate(spec=claim().spec)
    source = api.EphemeralVolumeSource(volumeClaimTemplate=template)
    one.spec.volumes = [api.Volume(name=name, ephemeral=source) for name in ("a", "b")]
    return [one]


def ranged() -> list[Any]:
    spec = api.ServiceCIDRSpec(cidrs=["10.77.0.0/24"])
    return [
        api.ServiceCIDR(
            apiVersion="networking.k8s.io/v1",
            kind="ServiceCIDR",
            metadata=api.ObjectMeta(name="more"),
            spec=spec,
        )
    ]


CASES: dict[str, tuple[Callable[[], Controller], Hashable, Callable[[], list[Any]]]] = {
    "balanced": (lambda: loadbalancer.controller(balancing.POOL), key("web"), balanced),
    "leaving": (lambda: loadbalancer.controller(balancing.POOL), key("web"), leaving),
    "mirrored": (mirroring.controller, key("web"), mirrored),
    "attached": (lambda: attachment.CONTROLLER, "n1", attached),
    "grown": (lambda: expansion.CONTROLLER, key("data"), grown),
    "scratch": (lambda: ephemeral.CONTROLLER, key("web"), scratch),
    "protected": (lambda: protection.CLAIMS, key("data"), lambda: [claim()]),
    "ranged": (lambda: servicecidr.CONTROLLER, Key("", "more"), ranged),
}


async def outcome(case: str, cut: int | None) -> tuple[list[str], int]:
    """Every object in the end, without what differs from one run to the next; the first plan's length."""
    make, target, objects = CASES[case]
    bench = Bench()
    for obj in objects():
        bench.server.put(obj)
    view = make().gather(bench.caches(make()), target)
    plan = make().plan(view, bench.now)
    await bench.executor.carry_out(Plan(plan.effects[:cut]))
    await bench.settle(make(), target)
    shown = []
    for obj in bench.server.objects.values():
        meta = obj["metadata"]
        shown.append(str((obj["kind"], meta.get("finalizers"), obj.get("spec"), obj.get("status"))))
    return sorted(shown), len(plan.effects)


@pytest.mark.parametrize("case", CASES)
def test_a_plan_may_break_off_anywhere(case: str) -> None:
    async def main() -> None:
        wanted, effects = await outcome(case, None)
        assert effects >= 1
        for cut in range(effects):
            assert (await outcome(case, cut))[0] == wanted, f"cut off after {cut} effects"

    run(main())
