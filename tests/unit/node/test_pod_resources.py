"""The pod resources API: which pod has which devices, asked by a gRPC client on the node's socket."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import grpc
import pytest

from sampan.base.clock import SimulatedClock
from sampan.node.drivers.claimplan import Device, Prepared
from sampan.node.drivers.deviceplan import Held
from sampan.node.drivers.podresources import listed_pods, old_pod_fields, pod_fields
from sampan.node.drivers.podresourceserver import CALLS_A_SECOND, MOST_AT_ONCE, Limit
from sampan.node.drivers.server import Server
from sampan.node.drivers.sockets import DriverClient
from sampan.node.model import Volumes
from sampan.node.runtimes.cri.messages import message
from sampan.schema import api, codec
from tests.unit.node.fakes import container, make_pod, pod_path
from tests.unit.node.test_claims import DRIVER, Bench, _quick, run
from tests.unit.node.test_deviceplugins import RESOURCE, asking, plugged

__all__ = ["_quick"]
LISTER = "v1.PodResourcesLister"


async def ask(socket: Path, method: str, service: str = LISTER, **fields: Any) -> Any:
    """The answer as plain values. Raises grpc.aio.AioRpcError."""
    client = DriverClient(str(socket))
    package = service.partition(".")[0]
    kind = {"GetAllocatableResources": "AllocatableResources"}.get(method, f"{method}PodResources")
    try:
        call = client._callable(service, method)
        answer = await call(message(f"{package}.{kind}Request")(**fields), timeout=30, wait_for_ready=True)
    finally:
        await client.close()
    return plain(answer)


def plain(value: Any) -> Any:
    """The fields of a message that are set."""
    if hasattr(value, "ListFields"):
        return {field.name: plain(each) for field, each in value.ListFields()}
    return value if isinstance(value, (str, int)) else [plain(each) for each in value]


def socket_of(bench: Bench) -> Path:
    return bench.root / "pod-resources" / "kubelet.sock"


def cam(device: str, node: int | None = None) -> dict[str, Any]:
    fields: dict[str, Any] = {"resource_name": RESOURCE, "device_ids": [device]}
    return fields if node is None else {**fields, "topology": {"nodes": [{"ID": node}]}}


def test_devices_of_plugins(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        plugin = await plugged(bench, near={"a": (0, 1), "c": (1,)})
        socket = socket_of(bench)
        await bench.until(lambda: socket.exists() and stat.S_IMODE(socket.stat().st_mode) == 0o755)
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o750
        assert await ask(socket, "List") == {}
        # Of zeros there is nothing on the wire: `{}` is node 0.
        devices = [{**cam("a"), "topology": {"nodes": [{}]}}, cam("a", 1), cam("b")]
        assert await ask(socket, "GetAllocatableResources") == {"devices": devices}
        bench.api.put(pod_path(), make_pod(containers=[asking(2), container("other")]))
        await bench.until(lambda: bench.phase() == "Running")
        known = {
            "name": "web",
            "namespace": "default",
            "containers": [{"name": "app", "devices": devices}, {"name": "other"}],
        }
        assert await ask(socket, "List") == {"pod_resources": [known]}
        assert await ask(socket, "Get", pod_name="web", pod_namespace="default") == {"pod_resources": known}
        old = {
            **known,
            "containers": [{"name": "app", "devices": [cam("a"), cam("a"), cam("b")]}, {"name": "other"}],
        }
        assert await ask(socket, "List", "v1alpha1.PodResourcesLister") == {"pod_resources": [old]}
        await bench.stop_agent()
        assert not socket.exists()
        await plugin.stop()
        await bench.start_agent()  # and the plugin does not come back
        workers = bench.agent.host.workers
        await bench.until(lambda: "web-uid" in workers and workers["web-uid"].state.volumes is Volumes.READY)
        await bench.until(socket.exists)
        assert await ask(socket, "List") == {"pod_resources": [known]}
        assert await ask(socket, "GetAllocatableResources") == {}

    run(tmp_path, scenario)


def test_devices_of_claims(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.driver.requests = ("one", "two")
        await bench.until(lambda: bench.driver.registrar.told == [(True, "")])
        bench.claim("mine", "web")
        bench.pod(request="two")
        await bench.until(lambda: bench.phase() == "Running" and socket_of(bench).exists())
        answer = await ask(socket_of(bench), "Get", pod_name="web", pod_namespace="default")
        app, other = answer["pod_resources"]["containers"]
        assert other == {"name": "other"}
        assert app == {
            "name": "app",
            "dynamic_resources": [
                {
                    "claim_name": "mine",
                    "claim_namespace": "default",
                    "claim_resources": [
                        {
                            "cdi_devices": [{"name": f"{DRIVER}/gpu=mine-uid-{request}"}],
                            "driver_name": DRIVER,
                            "pool_name": "node-1",
                            "device_name": f"gpu-{request}",
                        }
                        for request in ("one", "two")
                    ],
                }
            ],
        }

    run(tmp_path, scenario)


def test_a_pod_that_is_not_there(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.until(socket_of(bench).exists)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(socket_of(bench), "Get", pod_name="web", pod_namespace="there")
        assert caught.value.code() is grpc.StatusCode.UNKNOWN
        assert caught.value.details() == "pod web in namespace there not found"

    run(tmp_path, scenario)


def test_calls_that_are_too_many_are_refused(tmp_path: Path) -> None:
    async def answer(_: Any) -> Any:
        return message("v1.ListPodResourcesResponse")()

    async def scenario() -> None:
        clock = SimulatedClock()
        socket = tmp_path / "kubelet.sock"
        server = Server(str(socket), {LISTER: {"List": answer}}, allow=Limit(clock).allow)
        await server.start()
        try:
            for _ in range(MOST_AT_ONCE):
                assert await ask(socket, "List") == {}
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(socket, "List")
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert caught.value.details() == "rejected by rate limit"
            await clock.advance(1.5 / CALLS_A_SECOND)
            assert await ask(socket, "List") == {}
        finally:
            await server.stop()

    asyncio.run(scenario())


def test_the_limit_fills_up_again_and_no_further() -> None:
    async def scenario() -> None:
        clock = SimulatedClock()
        limit = Limit(clock)
        await clock.advance(3600)
        assert sum(limit.allow() for _ in range(100)) == MOST_AT_ONCE
        await clock.advance(5.5 / CALLS_A_SECOND)
        assert sum(limit.allow() for _ in range(100)) == 5

    asyncio.run(scenario())


# --- plans ------------------------------------------------------------------------------------------------


def test_pods_that_are_over_use_nothing() -> None:
    phases = ("Pending", "Running", "Succeeded", "Failed")
    pods = [make_pod(phase, status={"phase": phase}) for phase in phases] + [make_pod("left", node="")]
    assert [pod.metadata.name for pod in listed_pods(pods)] == ["Pending", "Running"]


def several() -> api.Pod:
    uses = {"resources": {"claims": [{"name": "b"}, {"name": "a", "request": "r"}]}}
    pod = make_pod(
        containers=[container("app", **uses), container("late", resources={"claims": [{"name": "c"}]})],
        initContainers=[container("once"), container("beside", restartPolicy="Always")],
        resourceClaims=[
            {"name": "a", "resourceClaimName": "claim-a"},
            {"name": "b", "resourceClaimTemplateName": "t"},
            {"name": "c", "resourceClaimName": "claim-c"},
        ],
    )
    pod.status.resourceClaimStatuses = [api.PodResourceClaimStatus(name="b", resourceClaimName="made-b")]
    pod.status.extendedResourceClaimStatus = codec.from_builtins(
        {
            "resourceClaimName": "extended",
            "requestMappings": [{"containerName": "app", "resourceName": "e.com/x", "requestName": "r"}],
        },
        api.PodExtendedResourceClaimStatus,
    )
    return pod


def prepared(name: str, *devices: Device) -> Prepared:
    return Prepared("default", name, f"{name}-uid", ("d",), ("web-uid",), {"d": devices})


def test_containers_and_sidecars_have_devices_and_claims_in_the_order_of_the_pod() -> None:
    held = [
        Held("web-uid", "app", "z.com/x", ("1",)),
        Held("web-uid", "app", "a.com/x", ("2", "1"), nodes={"2": (3,)}),
        Held("web-uid", "once", "a.com/x", ("1",)),
        Held("web-uid", "beside", "a.com/x", ("4",)),
    ]
    claims = [
        prepared("extended"),
        prepared("made-b", Device((), "p", "0", (), "share")),
        prepared(
            "claim-a", Device(("r",), "p", "1", ("v/c=1", "v/c=2")), Device(("s",), "p", "2", ("v/c=3",))
        ),
    ]
    found = pod_fields(several(), held, claims)
    beside, app, late = found["containers"]
    assert [each["name"] for each in found["containers"]] == ["beside", "app", "late"]
    assert beside["devices"] == [{"resource_name": "a.com/x", "device_ids": ["4"]}]
    assert app["devices"] == [
        {"resource_name": "a.com/x", "device_ids": ["1"]},
        {"resource_name": "a.com/x", "device_ids": ["2"], "topology": {"nodes": [{"ID": 3}]}},
        {"resource_name": "z.com/x", "device_ids": ["1"]},
    ]
    assert [claim["claim_name"] for claim in app["dynamic_resources"]] == ["claim-a", "made-b", "extended"]
    first, second, third = (claim["claim_resources"] for claim in app["dynamic_resources"])
    assert [each["cdi_devices"] for each in first] == [
        [{"name": "v/c=1"}, {"name": "v/c=2"}],
        [{"name": "v/c=3"}],
    ]
    assert [(each["device_name"], each["share_id"]) for each in second] == [("0", "share")]
    assert third == []
    assert late["dynamic_resources"] == []  # its claim is not prepared yet
    message("v1.PodResources")(**found)


def test_the_old_version_knows_devices_of_containers_only() -> None:
    held = [Held("web-uid", name, "a.com/x", ("1",), nodes={"1": (1,)}) for name in ("app", "beside")]
    found = old_pod_fields(several(), held)
    assert found["containers"] == [
        {"name": "app", "devices": [{"resource_name": "a.com/x", "device_ids": ["1"]}]},
        {"name": "late", "devices": []},
    ]
    message("v1alpha1.PodResources")(**found)
