"""Which address a Service of type LoadBalancer gets, and when none."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.controllers import loadbalancer
from sampan.controllers.loadbalancer import FINALIZER, Options, addresses_of
from sampan.schema import api
from tests.fakes.bench import NAMESPACE, Bench, key
from tests.fakes.waiting import run

POOL = Options(pool=("10.9.0.1-10.9.0.2",))


def service(name: str = "web", port: int = 80, **spec: Any) -> api.Service:
    return api.Service(
        apiVersion="v1",
        kind="Service",
        metadata=api.ObjectMeta(name=name, namespace=NAMESPACE),
        spec=api.ServiceSpec(
            **{
                "type": "LoadBalancer",
                "ports": [api.ServicePort(port=port, protocol="TCP")],
                "ipFamilies": ["IPv4"],
                **spec,
            }
        ),
    )


def node(name: str, ip: str, *, ready: str = "True", **labels: str) -> api.Node:
    return api.Node(
        apiVersion="v1",
        kind="Node",
        metadata=api.ObjectMeta(name=name, labels=labels),
        status=api.NodeStatus(
            addresses=[api.NodeAddress(type="InternalIP", address=ip)],
            conditions=[api.NodeCondition(type="Ready", status=ready)],
        ),
    )


async def give(bench: Bench, options: Options, name: str = "web") -> tuple[str, ...]:
    """The addresses of the Service once there is nothing more to do."""
    controller = loadbalancer.controller(options)
    await bench.settle(controller, key(name))
    return loadbalancer.ingress_of(await bench.get(api.Service, name))


async def why(bench: Bench, options: Options, name: str) -> str:
    plan = await bench.step(loadbalancer.controller(options), key(name))
    assert plan.notices[0].reason == "SyncLoadBalancerFailed"
    return plan.notices[0].message


def test_the_pool_is_given_out_until_it_is_used_up_and_what_comes_back_is_given_again() -> None:
    async def main() -> None:
        bench = Bench()
        for name in ("a", "b", "c"):
            await bench.client.create(service(name))
        assert await give(bench, POOL, "a") == ("10.9.0.1",)
        assert await give(bench, POOL, "b") == ("10.9.0.2",)
        assert "has no free IPv4 address left" in await why(bench, POOL, "c")
        assert await give(bench, POOL, "c") == ()
        held = await bench.get(api.Service, "a")
        assert held.metadata.finalizers == [FINALIZER]
        await bench.client.delete(api.Service, "a", NAMESPACE)
        await bench.settle(loadbalancer.controller(POOL), key("a"))
        assert [one.metadata.name for one in await bench.all(api.Service)] == ["b", "c"]
        assert await give(bench, POOL, "c") == ("10.9.0.1",)

    run(main())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"loadBalancerIP": "10.9.0.2"}, ("10.9.0.2",)),
        ({"loadBalancerIP": "10.9.0.7"}, "is not in the pool (10.9.0.1-10.9.0.2)"),
        ({"loadBalancerClass": "sampan.io/load-balancer"}, ("10.9.0.1",)),
        ({"loadBalancerClass": "example.com/other"}, ()),
        ({"type": "NodePort"}, ()),
        ({"ipFamilies": ["IPv6"]}, "has no free IPv6 address left"),
    ],
)
def test_what_a_service_may_ask_for(spec: dict[str, Any], expected: Any) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service(**spec))
        if isinstance(expected, str):
            assert expected in await why(bench, POOL, "web")
        else:
            assert await give(bench, POOL) == expected

    run(main())


def test_without_a_pool_it_is_the_addresses_of_ready_nodes_and_a_port_of_them_is_one_services() -> None:
    async def main() -> None:
        bench = Bench()
        bench.server.put(node("b", "10.0.0.10"))
        bench.server.put(node("a", "10.0.0.9"))
        bench.server.put(node("c", "10.0.0.11", ready="False"))
        bench.server.put(node("d", "10.0.0.12", **{loadbalancer.EXCLUDED: ""}))
        for name, port in (("web", 80), ("same", 80), ("own", 6443), ("other", 81)):
            await bench.client.create(service(name, port))
        assert await give(bench, Options()) == ("10.0.0.9", "10.0.0.10")
        assert "port 80 of the nodes' addresses is taken by service default/web" in (
            await why(bench, Options(), "same")
        )
        assert "port 6443 of the nodes' addresses belongs to the cluster" in await why(
            bench, Options(), "own"
        )
        assert await give(bench, Options(), "other") == ("10.0.0.9", "10.0.0.10")

    run(main())


def test_another_type_gives_everything_back() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(service())
        assert await give(bench, POOL) == ("10.9.0.1",)
        await bench.client.patch(api.Service, "web", NAMESPACE, {"spec": {"type": "ClusterIP"}})
        assert await give(bench, POOL) == ()
        assert (await bench.get(api.Service, "web")).metadata.finalizers == []

    run(main())


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (("10.0.0.0/30",), ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        (("10.0.0.5", "10.0.0.1-10.0.0.2"), ["10.0.0.5", "10.0.0.1", "10.0.0.2"]),
        (("fd00::1-fd00::2",), ["fd00::1", "fd00::2"]),
        (("10.0.0.9-10.0.0.1",), "write the lower one first"),
        (("nonsense",), "does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_what_a_pool_may_look_like(pool: tuple[str, ...], expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            addresses_of(pool)
    else:
        assert list(addresses_of(pool)) == expected
