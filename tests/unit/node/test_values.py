"""The small pure parts: DNS, hosts, resources, security, admission, status patches, credentials, labels."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from sampan.node.admission import NodeView, admit
from sampan.node.dns import Resolver, parse_resolv_conf, pod_resolver, resolv_conf_text
from sampan.node.errors import ConfigError
from sampan.node.hosts import etc_hosts, hostname, sandbox_hostname
from sampan.node.image_credentials import credentials_for
from sampan.node.resources import container_resources, cpu_quota_us, cpu_shares, pod_requests, qos_class
from sampan.node.runtimes.runtime import Image
from sampan.node.security import container_security
from sampan.node.status_writer import status_patch
from sampan.schema import api
from tests.unit.node.fakes import container, make_pod

HOST = Resolver(("192.0.2.53",), ("corp.example",), ("timeout:1",))
CLUSTER = Resolver(
    ("10.96.0.10",),
    ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"),
    ("ndots:5",),
)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, CLUSTER),
        ({"dnsPolicy": "Default"}, HOST),
        ({"hostNetwork": True}, HOST),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, CLUSTER),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.2.3.4"]}}, Resolver(("1.2.3.4",))),
        (
            {
                "dnsPolicy": "Default",
                "dnsConfig": {
                    "nameservers": ["1.2.3.4", "192.0.2.53"],
                    "searches": ["more.example"],
                    "options": [{"name": "timeout", "value": "5"}, {"name": "edns0"}],
                },
            },
            Resolver(("192.0.2.53", "1.2.3.4"), ("corp.example", "more.example"), ("timeout:5", "edns0")),
        ),
    ],
)
def test_dns(spec: dict[str, Any], expected: Resolver) -> None:
    assert pod_resolver(make_pod(**spec), HOST, ("10.96.0.10",), "cluster.local") == expected


def test_resolv_conf_is_read_and_written() -> None:
    text = "# c\nnameserver 1.1.1.1\nsearch a.example b.example.\noptions ndots:2 edns0\n"
    found = parse_resolv_conf(text)
    assert found == Resolver(("1.1.1.1",), ("a.example", "b.example"), ("ndots:2", "edns0"))
    assert parse_resolv_conf(resolv_conf_text(found)) == found


def test_hosts_file() -> None:
    alias = {"ip": "1.2.3.4", "hostnames": ["a.example", "b.example"]}
    pod = make_pod(hostAliases=[alias], hostname="db", subdomain="sub")
    text = etc_hosts(pod, "node-1", "cluster.local", ("10.0.0.5",), "")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.0.0.5\tdb.sub.default.svc.cluster.local\tdb\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\ta.example\tb.example\n")
    host = etc_hosts(make_pod(hostNetwork=True), "node-1", "cluster.local", (), "9.9.9.9 me\n")
    assert host == "# Kubernetes-managed hosts file (host network).\n9.9.9.9 me\n"


@pytest.mark.parametrize(
    ("name", "spec", "short", "full"),
    [
        ("web-0", {}, "web-0", "web-0"),
        ("x" * 70, {}, "x" * 63, "x" * 63),
        ("web", {"hostNetwork": True}, "node-1", "node-1"),
        ("web", {"hostnameOverride": "other.example"}, "other.example", "other.example"),
        ("web", {"subdomain": "s", "setHostnameAsFQDN": True}, "web", "web.s.default.svc.cluster.local"),
    ],
)
def test_hostnames(name: str, spec: dict[str, Any], short: str, full: str) -> None:
    pod = make_pod(name, **spec)
    assert hostname(pod, "node-1") == short
    assert sandbox_hostname(pod, "node-1", "cluster.local") == full


@pytest.mark.parametrize(
    ("milli", "shares", "quota"), [(0, 2, 0), (1, 2, 1000), (500, 512, 50_000), (2000, 2048, 200_000)]
)
def test_cpu_values(milli: int, shares: int, quota: int) -> None:
    assert (cpu_shares(milli), cpu_quota_us(milli)) == (shares, quota)


GUARANTEED = {"limits": {"cpu": "1", "memory": "1Gi"}}
BURSTABLE = {"requests": {"memory": "2Gi"}}


@pytest.mark.parametrize(
    ("resources", "qos", "oom", "memory"),
    [
        ({}, "BestEffort", 1000, 0),
        (GUARANTEED, "Guaranteed", 0, 1 << 30),
        (BURSTABLE, "Burstable", 750, 0),
        ({"requests": {"memory": "8Gi"}}, "Burstable", 3, 0),
        ({"requests": {"cpu": "100m"}}, "Burstable", 999, 0),
    ],
)
def test_resources(resources: dict[str, Any], qos: str, oom: int, memory: int) -> None:
    pod = make_pod(containers=[container(resources=resources)], status={"qosClass": None})
    assert qos_class(pod) == qos
    values = container_resources(pod.spec.containers[0], qos, 8 << 30)
    assert (values.oom_score_adj, values.memory_limit_bytes) == (oom, memory)


def test_what_a_pod_asks_of_its_node() -> None:
    def asks(cpu: str, **fields: Any) -> dict[str, Any]:
        return container(f"c{cpu}", resources={"requests": {"cpu": cpu}}, **fields)

    pod = make_pod(
        containers=[asks("1"), asks("500m")],
        initContainers=[asks("200m", restartPolicy="Always"), asks("3")],
        overhead={"cpu": "100m"},
    )
    assert pod_requests(pod) == {"cpu": 3300}


def security(pod: dict[str, Any], own: dict[str, Any], image: Image | None = None) -> Any:
    made = make_pod(containers=[container(securityContext=own)], securityContext=pod)
    return container_security(made, made.spec.containers[0], image)


IMAGE = Image("i", (), (), 0, uid=7)


def test_the_containers_security_context_overrides_the_pods() -> None:
    pod = {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 5, "supplementalGroups": [4]}
    found = security(pod, {"runAsUser": 10, "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}})
    assert (found.run_as_user, found.run_as_group, found.supplemental_groups) == (10, 2, (4, 5))
    assert (found.add_capabilities, found.drop_capabilities) == (("NET_ADMIN",), ("ALL",))
    assert not found.no_new_privileges
    assert security({}, {"allowPrivilegeEscalation": False}).no_new_privileges
    assert security({}, {}, IMAGE).run_as_user == 7


@pytest.mark.parametrize(
    ("profile", "seccomp"),
    [
        (None, "Unconfined"),
        ({"type": "RuntimeDefault"}, "RuntimeDefault"),
        ({"type": "Localhost", "localhostProfile": "p.json"}, "Localhost/p.json"),
    ],
)
def test_seccomp(profile: dict[str, Any] | None, seccomp: str) -> None:
    assert security({"seccompProfile": profile}, {}).seccomp == seccomp


@pytest.mark.parametrize(
    ("own", "image", "message"),
    [
        ({"runAsUser": 0}, IMAGE, "container's runAsUser breaks non-root policy"),
        ({}, Image("i", (), (), 0, uid=0), "container has runAsNonRoot and image will run as root"),
        (
            {},
            Image("i", (), (), 0, username="bob"),
            "container has runAsNonRoot and image has non-numeric user (bob), cannot verify user is non-root",
        ),
    ],
)
def test_run_as_non_root(own: dict[str, Any], image: Image, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        security({"runAsNonRoot": True}, own, image)
    assert str(raised.value) == f'{message} (pod: "web_default(web-uid)", container: app)'


VIEW = NodeView(name="node-1", labels={"zone": "a"}, allocatable={"cpu": 1000, "memory": 1 << 30, "pods": 2})


def affine(operator: str, values: list[str]) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]}
    required = {"nodeSelectorTerms": [term]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def sysctl(name: str, **spec: Any) -> dict[str, Any]:
    return {"securityContext": {"sysctls": [{"name": name, "value": "1"}]}, **spec}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({}, ""),
        ({"nodeSelector": {"zone": "a"}}, ""),
        ({"nodeSelector": {"zone": "b"}}, "NodeAffinity"),
        (affine("In", ["a"]), ""),
        (affine("NotIn", ["a"]), "NodeAffinity"),
        (affine("Exists", []), ""),
        (affine("Gt", ["1"]), "NodeAffinity"),
        ({"containers": [container(resources={"requests": {"cpu": "600m"}})]}, "OutOfcpu"),
        ({"containers": [container(resources={"requests": {"cpu": "500m"}})]}, ""),
        (
            {"containers": [container(resources={"requests": {"example.com/gpu": "1"}})]},
            "OutOfexample.com/gpu",
        ),
        ({"containers": [container(ports=[{"containerPort": 80, "hostPort": 80}])]}, "NodePorts"),
        (
            {"containers": [container(ports=[{"containerPort": 80, "hostPort": 80, "protocol": "UDP"}])]},
            "",
        ),
        ({"hostNetwork": True, "containers": [container(ports=[{"containerPort": 80}])]}, "NodePorts"),
        (sysctl("net.ipv4.tcp_rmem"), ""),
        (sysctl("net/ipv4/tcp_rmem"), ""),
        (sysctl("net.core.somaxconn"), "SysctlForbidden"),
        (sysctl("kernel.msgmax"), "SysctlForbidden"),
        (sysctl("kernel.shm_rmid_forced", hostIPC=True), "SysctlForbidden"),
        (sysctl("kernel.shm_rmid_forced", hostNetwork=True), ""),
        (sysctl("net.ipv4.tcp_rmem", hostNetwork=True), "SysctlForbidden"),
    ],
)
def test_admission(spec: dict[str, Any], reason: str) -> None:
    taken = container(
        resources={"requests": {"cpu": "500m"}},
        ports=[{"containerPort": 8080, "hostPort": 80, "protocol": "TCP"}],
    )
    other = make_pod("other", containers=[taken])
    refusal = admit(make_pod(**spec), [other], VIEW)
    assert (refusal.reason if refusal else "") == reason


def test_a_refused_sysctl_is_named() -> None:
    refusal = admit(make_pod(**sysctl("kernel.msgmax")), [], VIEW)
    assert refusal is not None
    assert refusal.message == 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted'
    refusal = admit(make_pod(**sysctl("net.ipv4.tcp_rmem", hostNetwork=True)), [], VIEW)
    assert refusal is not None
    assert refusal.message.endswith('"net.ipv4.tcp_rmem" not allowed with host Net enabled')


def test_a_full_node_takes_no_pod_but_finished_ones_do_not_count() -> None:
    others = [make_pod("a"), make_pod("b")]
    refusal = admit(make_pod(), others, VIEW)
    assert refusal is not None and refusal.message == (
        "Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"
    )
    assert admit(make_pod(), [others[0], make_pod("b", status={"phase": "Failed"})], VIEW) is None


def test_a_status_patch_takes_back_what_is_gone_and_replaces_addresses() -> None:
    ready = api.PodCondition(type="Ready", status="True")
    before = api.PodStatus(podIP="10.0.0.1", podIPs=[api.PodIP(ip="10.0.0.1")])
    after = api.PodStatus(
        phase="Running", podIP="10.0.0.2", podIPs=[api.PodIP(ip="10.0.0.2")], conditions=[ready]
    )
    assert status_patch("u", before, after) == {
        "metadata": {"uid": "u"},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.2",
            "podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.2"}],
            "reason": None,
            "message": None,
            "startTime": None,
            "observedGeneration": None,
            "conditions": [{"type": "Ready", "status": "True", "reason": None, "message": None}],
        },
    }


def test_addresses_that_are_new_need_no_directive() -> None:
    after = api.PodStatus(podIP="10.0.0.2", podIPs=[api.PodIP(ip="10.0.0.2")])
    for before in (api.PodStatus(), after):
        assert status_patch("u", before, after)["status"]["podIPs"] == [{"ip": "10.0.0.2"}]


def docker_config(*registries: str) -> api.Secret:
    auth = base64.b64encode(b"bob:pw").decode()
    config = {"auths": {registry: {"auth": auth} for registry in registries}}
    return api.Secret(data={".dockerconfigjson": json.dumps(config).encode()})


def test_extended_resources_may_be_the_schedulers_word() -> None:
    trusting = msgspec.structs.replace(VIEW, trusts_extended=True)
    gpu = make_pod(containers=[container(resources={"requests": {"example.com/gpu": "1"}})])
    assert admit(gpu, [], trusting) is None
    both = {"example.com/gpu": "1", "cpu": "2"}
    refused = admit(make_pod(containers=[container(resources={"requests": both})]), [], trusting)
    assert refused is not None and refused.reason == "OutOfcpu"
    known = msgspec.structs.replace(trusting, allocatable={**VIEW.allocatable, "example.com/gpu": 0})
    assert admit(gpu, [], known) is not None


@pytest.mark.parametrize(
    ("image", "registry", "fits"),
    [
        ("nginx", "https://index.docker.io/v1/", True),
        ("nginx", "quay.io", False),
        ("quay.io/a/b:1", "quay.io", True),
        ("quay.io/a/b:1", "quay.io/a", True),
        ("quay.io/a/b:1", "quay.io/c", False),
        ("r.example.com:5000/a", "*.example.com:5000", True),
        ("localhost:5000/a", "localhost:5000", True),
    ],
)
def test_pull_credentials(image: str, registry: str, fits: bool) -> None:
    found = credentials_for(image, [docker_config(registry)])
    assert (found is not None) == fits
    if found is not None:
        assert (found.username, found.password) == ("bob", "pw")
