"""Messages made from the table, and their conversion."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.node.runtimes.cri import attach, convert, exits, messages, netns, tables, tasks
from sampan.node.runtimes.runtime import (
    ContainerSpec,
    Credentials,
    Mount,
    Resources,
    SandboxSpec,
    Security,
    State,
)

TEXT = st.text(max_size=20)
SANDBOX = SandboxSpec(namespace="default", name="web", uid="u-1")


def cri(name: str) -> messages.Message:
    return messages.message(f"runtime.v1.{name}")


def test_bytes_on_the_wire_are_protobufs() -> None:
    # Field 1, length-delimited, "abc"; field 2, varint 5.
    assert (
        cri("StopContainerRequest")(container_id="abc", timeout=5).SerializeToString()
        == b"\x0a\x03abc\x10\x05"
    )


def test_unknown_fields_are_skipped() -> None:
    # Field 99, varint 1, before what is known.
    assert cri("StartContainerRequest").FromString(b"\x98\x06\x01\x0a\x01x").container_id == "x"


@given(st.dictionaries(TEXT, TEXT), TEXT, st.integers(0, 2**32 - 1))
def test_maps_and_messages_round_trip(labels: dict[str, str], name: str, attempt: int) -> None:
    request = cri("RunPodSandboxRequest")
    sent = request(config={"metadata": {"name": name, "attempt": attempt}, "labels": labels})
    received = request.FromString(sent.SerializeToString())
    assert received == sent
    assert dict(received.config.labels) == labels


@pytest.mark.parametrize("package", sorted(tables.PACKAGES))
def test_every_table_names_each_field_once(package: str) -> None:
    seen = set()
    for name, fields in messages.parse_table(tables.PACKAGES[package]):
        assert name not in seen
        seen.add(name)
        assert len({number for _, number, _ in fields}) == len(fields), name
        assert len({field for field, _, _ in fields}) == len(fields), name
        assert messages.message(f"{package}.{name}").DESCRIPTOR.full_name == f"{package}.{name}"


@pytest.mark.parametrize("method", sorted(tables.METHODS))
def test_methods_with_names_of_their_own_resolve(method: str) -> None:
    service, _, name = method.partition("/")
    request, response = messages.method_types(service, name)
    assert (request.DESCRIPTOR.full_name, response.DESCRIPTOR.full_name) == tables.METHODS[method]


def test_a_sandbox_becomes_a_config() -> None:
    spec = msgspec.structs.replace(
        SANDBOX,
        hostname="web-0",
        labels={"a": "b"},
        host_pid=True,
        run_as_user=0,
        sysctls={"net.core.somaxconn": "10"},
    )
    config = cri("PodSandboxConfig")(**convert.sandbox_config(spec, owner="me", cgroup_parent="/pods"))
    assert config.hostname == "web-0"
    assert dict(config.labels) == {
        "a": "b",
        "io.kubernetes.pod.name": "web",
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.pod.uid": "u-1",
        "sampan.dev/owner": "me",
    }
    security = config.linux.security_context
    assert (security.namespace_options.pid, security.namespace_options.network) == (2, 0)
    assert security.HasField("run_as_user")
    assert not security.HasField("run_as_group")
    assert config.linux.cgroup_parent == "/pods"
    assert dict(config.linux.sysctls) == {"net.core.somaxconn": "10"}


@pytest.mark.parametrize(
    ("changes", "pid"),
    [
        ({}, 1),
        ({"share_process_namespace": True}, 0),
        ({"host_pid": True, "share_process_namespace": True}, 2),
    ],
)
def test_process_namespaces(changes: dict[str, bool], pid: int) -> None:
    config = convert.sandbox_config(msgspec.structs.replace(SANDBOX, **changes))
    assert config["linux"]["security_context"]["namespace_options"]["pid"] == pid


def test_the_hosts_network_keeps_the_hosts_name() -> None:
    config = convert.sandbox_config(msgspec.structs.replace(SANDBOX, host_network=True, hostname="web"))
    assert config["hostname"] == ""
    assert config["linux"]["security_context"]["namespace_options"]["network"] == 2


def test_a_container_becomes_a_config() -> None:
    spec = ContainerSpec(
        name="main",
        attempt=2,
        image="busybox",
        command=("sh",),
        env=(("A", "1"), ("B", "")),
        mounts=(Mount("/host", "/inside", True, "Bidirectional"),),
        resources=Resources(cpu_shares=512, memory_limit_bytes=1 << 20),
        security=Security(
            run_as_user=5, run_as_group=6, add_capabilities=("NET_ADMIN",), seccomp="Localhost/p.json"
        ),
        stdin=True,
    )
    config = cri("ContainerConfig")(**convert.container_config(SANDBOX, spec))
    assert (config.metadata.name, config.metadata.attempt, config.stdin) == ("main", 2, True)
    assert [(each.key, each.value) for each in config.envs] == [("A", b"1"), ("B", b"")]
    assert [(each.host_path, each.readonly, each.propagation) for each in config.mounts] == [
        ("/host", True, 2)
    ]
    assert (config.linux.resources.cpu_shares, config.linux.resources.cpu_period) == (512, 0)
    security = config.linux.security_context
    assert (security.run_as_user.value, security.run_as_group.value) == (5, 6)
    assert (security.seccomp.profile_type, security.seccomp.localhost_ref) == (2, "p.json")
    assert list(security.capabilities.add_capabilities) == ["NET_ADMIN"]


def test_a_status_becomes_a_container() -> None:
    status = cri("ContainerStatus")(
        id="c",
        metadata={"name": "main", "attempt": 1},
        state=2,
        created_at=1_000_000_000_000_001_999,
        started_at=0,
        exit_code=137,
        reason="OOMKilled",
        image={"image": "docker.io/library/busybox:1"},
        image_ref="sha256:ff",
        annotations={"sampan.dev/image": "busybox:1", "mine": "x"},
    )
    container = convert.container(status, "s")
    assert (container.id, container.sandbox_id, container.state) == ("c", "s", State.EXITED)
    assert (container.exit_code, container.reason, container.image) == (137, "OOMKilled", "busybox:1")
    assert container.created_at == datetime(2001, 9, 9, 1, 46, 40, 1, tzinfo=UTC)
    assert container.started_at is None
    assert container.annotations == {"mine": "x"}


def test_an_image_asked_for_by_id_is_shown_by_name() -> None:
    status = cri("ContainerStatus")(
        image={"image": "docker.io/library/busybox:1"}, annotations={"sampan.dev/image": "sha256:" + "0" * 64}
    )
    assert convert.container(status, "s").image == "docker.io/library/busybox:1"


def test_images_tell_ids_from_names_of_users() -> None:
    assert convert.image(cri("Image")(id="i", uid={"value": 0})).uid == 0
    named = convert.image(cri("Image")(id="i", username="web", repo_tags=["a:1"]))
    assert (named.uid, named.username, named.tags) == (None, "web", ("a:1",))


def test_credentials() -> None:
    assert convert.auth(None) == {}
    assert convert.auth(Credentials("u", "p"))["password"] == "p"


def test_an_exec_takes_the_containers_process_with_its_own_command() -> None:
    spec = {
        "process": {
            "args": ["sleep"],
            "env": ["A=1", "TERM=dumb"],
            "cwd": "/work",
            "user": {"uid": 5},
            "oomScoreAdj": -5,
            "capabilities": {"bounding": ["CAP_KILL"]},
        }
    }
    plain = msgspec.json.decode(tasks.process_spec(msgspec.json.encode(spec), ("ls", "-l"), tty=False))
    assert plain == {
        "args": ["ls", "-l"],
        "terminal": False,
        "env": ["A=1", "TERM=dumb"],
        "cwd": "/work",
        "user": {"uid": 5},
        "capabilities": {"bounding": ["CAP_KILL"]},
    }
    with_tty = msgspec.json.decode(tasks.process_spec(msgspec.json.encode(spec), ("sh",), tty=True))
    assert (with_tty["terminal"], with_tty["env"]) == (True, ["A=1", "TERM=xterm"])


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({}, 0),
        ({"status": "Success"}, 0),
        ({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}}, 7),
        ({"status": "Failure", "message": "no such thing"}, 1),
    ],
)
def test_exit_codes_of_streams(status: dict[str, object], code: int) -> None:
    assert attach.exit_code(status) == code


@pytest.mark.parametrize(
    ("info", "path"),
    [
        ({}, ""),
        ({"info": "not json"}, ""),
        ({"info": '{"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"}]}}}'}, ""),
        (
            {"info": '{"runtimeSpec":{"linux":{"namespaces":[{"type":"network","path":"/run/netns/x"}]}}}'},
            "/run/netns/x",
        ),
    ],
)
def test_where_a_sandboxes_network_is(info: dict[str, str], path: str) -> None:
    assert netns.path_of(info) == path


def test_polling_tells_what_ran_and_runs_no_more() -> None:
    import asyncio

    from sampan.base.clock import SimulatedClock
    from sampan.base.ids import RandomIds
    from sampan.node.runtimes.simulated import SimulatedRuntime

    async def main() -> None:
        clock = SimulatedClock()
        runtime = SimulatedRuntime(clock, RandomIds())
        seen: list[str] = []

        async def listen() -> None:
            async for exited in exits.from_polling(runtime.list, clock):
                seen.append(exited)

        listener = asyncio.ensure_future(listen())
        sandbox = await runtime.run_sandbox(SANDBOX)
        container = await runtime.create_container(
            sandbox, SANDBOX, ContainerSpec(name="a", attempt=0, image="i")
        )
        await runtime.start_container(container)
        await clock.advance(3)
        assert seen == []
        await runtime.stop_container(container, 0)
        await clock.advance(3)
        assert seen == [container]
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        await runtime.close()

    asyncio.run(main())


@pytest.mark.parametrize(("shared", "expected"), [(False, (3, "c-1")), (True, (0, ""))])
def test_a_debugger_sees_the_processes_of_its_target(shared: bool, expected: tuple[int, str]) -> None:
    sandbox = msgspec.structs.replace(SANDBOX, share_process_namespace=shared)
    spec = ContainerSpec(name="debugger", attempt=0, image="busybox", target_id="c-1")
    made = cri("ContainerConfig")(**convert.container_config(sandbox, spec))
    options = made.linux.security_context.namespace_options
    assert (options.pid, options.target_id) == expected
