"""Files of ConfigMaps, Secrets and the downward API: by themselves and projected, with modes and mappings."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from sampan.node.images.builtin import BUSYBOX
from sampan.schema import api
from tests.node.pods.cluster import NAMESPACE, Cluster, mounts

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]

USER = {"runAsUser": 1001, "runAsGroup": 1001, "fsGroup": 2002}
KINDS = ("configMap", "secret")


def volume(name: str, kind: str, source: str, projected: bool, **how: Any) -> dict[str, Any]:
    """A volume of one source, by itself or projected."""
    if not projected:
        key = "secretName" if kind == "secret" else "name"
        return {"name": name, kind: {key: source, **how}}
    mode = {"defaultMode": how.pop("defaultMode")} if "defaultMode" in how else {}
    return {"name": name, "projected": {"sources": [{kind: {"name": source, **how}}], **mode}}


@pytest.mark.conformance("ConfigMap should be consumable from pods in volume")
@pytest.mark.conformance("ConfigMap should be consumable from pods in volume as non-root")
@pytest.mark.conformance("ConfigMap should be consumable from pods in volume with defaultMode set")
@pytest.mark.conformance("ConfigMap should be consumable from pods in volume with mappings")
@pytest.mark.conformance("ConfigMap should be consumable from pods in volume with mappings and Item mode set")
@pytest.mark.conformance("ConfigMap should be consumable from pods in volume with mappings as non-root")
@pytest.mark.conformance("ConfigMap should be consumable in multiple volumes in the same pod")
@pytest.mark.conformance("Projected configMap should be consumable from pods in volume")
@pytest.mark.conformance("Projected configMap should be consumable from pods in volume as non-root")
@pytest.mark.conformance("Projected configMap should be consumable from pods in volume with defaultMode set")
@pytest.mark.conformance("Projected configMap should be consumable from pods in volume with mappings")
@pytest.mark.conformance(
    "Projected configMap should be consumable from pods in volume with mappings and Item mode set"
)
@pytest.mark.conformance(
    "Projected configMap should be consumable from pods in volume with mappings as non-root"
)
@pytest.mark.conformance("Projected configMap should be consumable in multiple volumes in the same pod")
@pytest.mark.conformance("Secrets should be consumable from pods in volume")
@pytest.mark.conformance(
    "Secrets should be consumable from pods in volume as non-root with defaultMode and fsGroup set"
)
@pytest.mark.conformance("Secrets should be consumable from pods in volume with defaultMode set")
@pytest.mark.conformance("Secrets should be consumable from pods in volume with mappings")
@pytest.mark.conformance("Secrets should be consumable from pods in volume with mappings and Item Mode set")
@pytest.mark.conformance("Secrets should be consumable in multiple volumes in a pod")
@pytest.mark.conformance("Projected secret should be consumable from pods in volume")
@pytest.mark.conformance(
    "Projected secret should be consumable from pods in volume as non-root with defaultMode and fsGroup set"
)
@pytest.mark.conformance("Projected secret should be consumable from pods in volume with defaultMode set")
@pytest.mark.conformance("Projected secret should be consumable from pods in volume with mappings")
@pytest.mark.conformance(
    "Projected secret should be consumable from pods in volume with mappings and Item Mode set"
)
@pytest.mark.conformance("Projected secret should be consumable in multiple volumes in a pod")
@pytest.mark.parametrize("projected", [False, True], ids=["plain", "projected"])
@pytest.mark.parametrize("user", [None, USER], ids=["root", "non-root"])
def test_each_source_with_modes_and_mappings(
    cluster: Cluster, projected: bool, user: dict[str, int] | None
) -> None:
    if not cluster.has(api.ConfigMap, "modes"):
        cluster.config_map("modes", key="configMap")
        cluster.secret("modes", key="secret")
    item = {"key": "key", "path": "deep/er"}
    volumes = []
    for kind in KINDS:
        short = kind.lower()
        volumes += [
            volume(f"{short}-plain", kind, "modes", projected),
            volume(f"{short}-again", kind, "modes", projected),
            volume(f"{short}-mode", kind, "modes", projected, defaultMode=0o440),
            volume(f"{short}-mapped", kind, "modes", projected, items=[item]),
            volume(f"{short}-item", kind, "modes", projected, items=[{**item, "mode": 0o400}]),
        ]
    paths = {
        v["name"]: f"/v/{v['name']}/{'key' if v['name'][-5:] in ('plain', 'again', '-mode') else 'deep/er'}"
        for v in volumes
    }
    script = "; ".join(f"cat {path}; stat -L -c ' %a %g' {path}" for path in paths.values())
    said = cluster.output(
        script,
        container={"volumeMounts": [{"name": name, "mountPath": f"/v/{name}"} for name in paths]},
        volumes=volumes,
        **({"securityContext": user} if user else {}),
    )
    # With a group of the pod's, its files are the group's, which may read them.
    group, item_mode = (2002, "440") if user else (0, "400")
    wanted = [f"{kind} {mode} {group}" for kind in KINDS for mode in ("644", "644", "440", "644", item_mode)]
    assert said.splitlines() == wanted


@pytest.mark.conformance("ConfigMap binary data should be reflected in volume")
@pytest.mark.conformance("Projected combined should project all components that make up the projection API")
def test_bytes_and_everything_in_one_volume(cluster: Cluster) -> None:
    raw = bytes([0xDE, 0xCA, 0xFE, 0x00, 0xFF])
    cluster.make(
        api.ConfigMap,
        {
            "metadata": {"name": "bytes"},
            "data": {"text": "words"},
            "binaryData": {"raw": base64.b64encode(raw).decode()},
        },
    )
    cluster.secret("bytes", hidden="s3cret")
    sources = [
        {"configMap": {"name": "bytes", "items": [{"key": "text", "path": "text"}]}},
        {"secret": {"name": "bytes"}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"serviceAccountToken": {"path": "token"}},
    ]
    pod = cluster.pod(
        "hexdump -v -e '/1 \"%02x\"' /map/raw; echo; cat /map/text; echo; cat /all/text; echo; "
        "cat /all/hidden; echo; cat /all/name; echo; wc -c < /all/token",
        container={"volumeMounts": mounts(map="/map", all="/all")},
        volumes=[
            {"name": "map", "configMap": {"name": "bytes"}},
            {"name": "all", "projected": {"sources": sources}},
        ],
    )
    assert pod.over().status.phase == "Succeeded"
    *said, token = pod.log().splitlines()
    assert said == [raw.hex(), "words", "words", "s3cret", pod.name]
    assert int(token) > 100


@pytest.mark.conformance("ConfigMap optional updates should be reflected in volume")
@pytest.mark.conformance("Secrets optional updates should be reflected in volume")
@pytest.mark.conformance("Projected configMap optional updates should be reflected in volume")
@pytest.mark.conformance("Projected secret optional updates should be reflected in volume")
def test_optional_sources_go_change_and_come(cluster: Cluster) -> None:
    for name in ("goes", "changes"):
        cluster.config_map(name, key="old")
        cluster.secret(name, key="old")
    volumes = [
        volume(f"{name}-{kind.lower()}-{projected}".lower(), kind, name, projected, optional=True)
        for name in ("goes", "changes", "comes")
        for kind in KINDS
        for projected in (False, True)
    ]
    pod = cluster.pod(
        container={"volumeMounts": [{"name": v["name"], "mountPath": f"/v/{v['name']}"} for v in volumes]},
        volumes=volumes,
    )
    pod.running()

    def seen(name: str) -> list[str]:
        return pod.exec(
            f"for d in /v/{name}-*; do cat $d/key 2>/dev/null || echo -n none; echo; done"
        ).split()

    assert [seen(name) for name in ("goes", "changes", "comes")] == [["old"] * 4, ["old"] * 4, ["none"] * 4]
    for kind in (api.ConfigMap, api.Secret):
        cluster.run(cluster.client.delete(kind, "goes", NAMESPACE))
    cluster.patch(api.ConfigMap, "changes", {"data": {"key": "new"}})
    cluster.patch(api.Secret, "changes", {"stringData": {"key": "new"}})
    cluster.config_map("comes", key="new")
    cluster.secret("comes", key="new")
    cluster.until(lambda: seen("goes") == ["none"] * 4, "the files are gone")
    for name in ("changes", "comes"):
        cluster.until(lambda name=name: seen(name) == ["new"] * 4, "the files are new")  # type: ignore[misc]


def downward(kind: str, items: list[dict[str, Any]], **how: Any) -> dict[str, Any]:
    if kind == "downwardAPI":
        return {"downwardAPI": {"items": items, **how}}
    return {"projected": {"sources": [{"downwardAPI": {"items": items}}], **how}}


@pytest.mark.conformance("Downward API volume should provide container's cpu limit")
@pytest.mark.conformance("Downward API volume should provide container's cpu request")
@pytest.mark.conformance("Downward API volume should provide container's memory limit")
@pytest.mark.conformance("Downward API volume should provide container's memory request")
@pytest.mark.conformance(
    "Downward API volume should provide node allocatable (cpu) as default cpu limit if the limit is not set"
)
@pytest.mark.conformance(
    "Downward API volume should provide node allocatable (memory) as default memory limit if the limit is "
    "not set"
)
@pytest.mark.conformance("Downward API volume should provide podname only")
@pytest.mark.conformance("Downward API volume should set DefaultMode on files")
@pytest.mark.conformance("Downward API volume should set mode on item file")
@pytest.mark.conformance("Projected downwardAPI should provide container's cpu limit")
@pytest.mark.conformance("Projected downwardAPI should provide container's cpu request")
@pytest.mark.conformance("Projected downwardAPI should provide container's memory limit")
@pytest.mark.conformance("Projected downwardAPI should provide container's memory request")
@pytest.mark.conformance(
    "Projected downwardAPI should provide node allocatable (cpu) as default cpu limit if the limit is not set"
)
@pytest.mark.conformance(
    "Projected downwardAPI should provide node allocatable (memory) as default memory limit if the limit is "
    "not set"
)
@pytest.mark.conformance("Projected downwardAPI should provide podname only")
@pytest.mark.conformance("Projected downwardAPI should set DefaultMode on files")
@pytest.mark.conformance("Projected downwardAPI should set mode on item file")
@pytest.mark.parametrize("kind", ["downwardAPI", "projected"])
def test_the_downward_api_in_files(cluster: Cluster, kind: str) -> None:
    def amount(path: str, resource: str, container: str = "main") -> dict[str, Any]:
        return {"path": path, "resourceFieldRef": {"containerName": container, "resource": resource}}

    name = {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}
    items = [
        {**name, "mode": 0o400},
        amount("cpu-limit", "limits.cpu"),
        amount("cpu-request", "requests.cpu"),
        amount("memory-limit", "limits.memory"),
        amount("memory-request", "requests.memory"),
        amount("node-cpu", "limits.cpu", "bare"),
        amount("node-memory", "limits.memory", "bare"),
    ]
    files = ["name", *(str(item["path"]) for item in items[1:])]
    script = "stat -L -c %a /only/name /all/name; cat /only/name; " + "; ".join(
        f"echo; cat /all/{file}" for file in files
    )
    pod = cluster.pod(
        containers=[
            {
                "name": "main",
                "image": BUSYBOX,
                "command": ["sh", "-c", script],
                "volumeMounts": mounts(only="/only", all="/all"),
                "resources": {
                    "limits": {"cpu": "2", "memory": "64Mi"},
                    "requests": {"cpu": "1", "memory": "32Mi"},
                },
            },
            {"name": "bare", "image": BUSYBOX, "command": ["true"]},
        ],
        volumes=[
            {"name": "only", **downward(kind, [name], defaultMode=0o440)},
            {"name": "all", **downward(kind, items)},
        ],
    )
    assert pod.over().status.phase == "Succeeded"
    node = cluster.run(cluster.client.get(api.Node, "node-1")).status.allocatable
    assert pod.log("main").splitlines() == [
        *("440", "400", pod.name, pod.name, "2", "1", str(64 << 20), str(32 << 20)),
        *(str(node["cpu"].whole()), str(node["memory"].whole())),
    ]


@pytest.mark.conformance(
    "Variable Expansion should fail substituting values in a volume subpath with absolute path"
)
@pytest.mark.conformance(
    "Variable Expansion should fail substituting values in a volume subpath with backticks"
)
@pytest.mark.conformance(
    "Variable Expansion should verify that a failing subpath expansion can be modified during the lifecycle "
    "of a container"
)
@pytest.mark.parametrize("wrong", ["/tmp", "../out"])
def test_a_sub_path_that_leads_out_waits_until_it_is_mended(cluster: Cluster, wrong: str) -> None:
    env = [{"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['where']"}}}]
    pod = cluster.pod(
        "echo there > /v/file; cat /whole/inside/file",
        annotations={"where": wrong},
        container={
            "env": env,
            "volumeMounts": [
                {"name": "d", "mountPath": "/v", "subPathExpr": "$(WHERE)"},
                {"name": "d", "mountPath": "/whole"},
            ],
        },
        volumes=[{"name": "d", "emptyDir": {}}],
    )
    pod.waits("CreateContainerConfigError")
    assert pod.get().status.phase == "Pending"
    cluster.patch(api.Pod, pod.name, {"metadata": {"annotations": {"where": "inside"}}})
    assert pod.over().status.phase == "Succeeded"
    assert pod.log() == "there"
