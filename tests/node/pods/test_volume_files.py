"""What containers see of volumes: modes, several volumes side by side, files that others cover."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.client.errors import ApiError
from sampan.node.images.builtin import BUSYBOX
from sampan.schema import api
from tests.node.pods.cluster import NAMESPACE, Cluster

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]

USER = {"runAsUser": 1001, "runAsGroup": 1001}


def mount(name: str, path: str, **how: Any) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **how}


@pytest.mark.conformance("EmptyDir volumes should support (root,0644,default)")
@pytest.mark.conformance("EmptyDir volumes should support (root,0644,tmpfs)")
@pytest.mark.conformance("EmptyDir volumes should support (root,0666,default)")
@pytest.mark.conformance("EmptyDir volumes should support (root,0666,tmpfs)")
@pytest.mark.conformance("EmptyDir volumes should support (root,0777,default)")
@pytest.mark.conformance("EmptyDir volumes should support (root,0777,tmpfs)")
@pytest.mark.conformance("EmptyDir volumes should support (non-root,0644,default)")
@pytest.mark.conformance("EmptyDir volumes should support (non-root,0644,tmpfs)")
@pytest.mark.conformance("EmptyDir volumes should support (non-root,0666,default)")
@pytest.mark.conformance("EmptyDir volumes should support (non-root,0666,tmpfs)")
@pytest.mark.conformance("EmptyDir volumes should support (non-root,0777,default)")
@pytest.mark.conformance("EmptyDir volumes should support (non-root,0777,tmpfs)")
@pytest.mark.conformance("EmptyDir volumes volume on default medium should have the correct mode")
@pytest.mark.conformance("EmptyDir volumes volume on tmpfs should have the correct mode")
@pytest.mark.parametrize("user", [None, USER], ids=["root", "non-root"])
def test_files_of_every_mode_in_empty_dirs_of_both_media(
    cluster: Cluster, user: dict[str, int] | None
) -> None:
    script = "; ".join(
        f"umask 0; echo {mode} > /{place}/{mode}; chmod {mode} /{place}/{mode}; "
        f"stat -c '%a %u' /{place}/{mode}; cat /{place}/{mode}"
        for place in ("disk", "memory")
        for mode in ("0644", "0666", "0777")
    )
    script += "; stat -c %a /disk /memory; grep -c ' /memory tmpfs' /proc/mounts"
    said = cluster.output(
        script,
        container={"volumeMounts": [mount("disk", "/disk"), mount("memory", "/memory")]},
        volumes=[{"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}],
        **({"securityContext": user} if user else {}),
    ).splitlines()
    owner = 1001 if user else 0
    files = [line for mode in ("0644", "0666", "0777") for line in (f"{mode[1:]} {owner}", mode)]
    assert said == [*files, *files, "777", "1777", "1"]


def test_one_source_in_several_volumes_read_by_everybody(cluster: Cluster) -> None:
    cluster.config_map("wide", one="1", two="2")
    cluster.secret("hidden", key="s3cret")
    items = [{"key": "one", "path": "deep/er/first", "mode": 0o400}]
    script = (
        "cat /a/one /b/one; echo; cat /mapped/deep/er/first || true; stat -L -c %a /mapped/deep/er/first; "
        "ls /mapped; cat /s/key /t/key; echo; stat -L -c '%a %g' /s/key; cat /p/one /p/key; echo"
    )
    volumes = [
        {"name": "a", "configMap": {"name": "wide"}},
        {"name": "b", "projected": {"sources": [{"configMap": {"name": "wide"}}]}},
        {"name": "mapped", "configMap": {"name": "wide", "items": items}},
        {"name": "s", "secret": {"secretName": "hidden", "defaultMode": 0o440}},
        {"name": "t", "secret": {"secretName": "hidden"}},
        {
            "name": "p",
            "projected": {"sources": [{"configMap": {"name": "wide"}}, {"secret": {"name": "hidden"}}]},
        },
    ]
    said = cluster.output(
        script,
        container={"volumeMounts": [mount(str(v["name"]), f"/{v['name']}") for v in volumes]},
        volumes=volumes,
        securityContext={**USER, "fsGroup": 2002},
    ).splitlines()
    # The group of the pod may read what only the owner would otherwise: the mode gains a bit for it.
    assert said == ["11", "1440", "deep", "s3crets3cret", "440 2002", "1s3cret"]


@pytest.mark.conformance(
    "Secrets should be able to mount in a volume regardless of a different secret "
    "existing with same name in different namespace"
)
def test_a_secret_of_the_same_name_elsewhere_is_another_one(cluster: Cluster) -> None:
    cluster.secret("namesake", key="ours")
    work = cluster.client.create(
        api.Secret(metadata=api.ObjectMeta(name="namesake", namespace="default"), data={"key": b"theirs"})
    )
    cluster.run(work)
    said = cluster.output(
        "cat /s/key",
        container={"volumeMounts": [mount("s", "/s")]},
        volumes=[{"name": "s", "secret": {"secretName": "namesake"}}],
    )
    assert said == "ours"


def test_optional_sources_come_change_and_go_under_a_running_pod(cluster: Cluster) -> None:
    cluster.config_map("going", key="here")
    optional = [
        {"configMap": {"name": "going", "optional": True}},
        {"secret": {"name": "coming", "optional": True}},
    ]
    pod = cluster.pod(
        container={"volumeMounts": [mount("v", "/v"), mount("late", "/late")]},
        volumes=[
            {"name": "v", "projected": {"sources": optional}},
            {"name": "late", "configMap": {"name": "coming", "optional": True}},
        ],
    )
    pod.running()
    assert pod.exec("ls /v; ls /late") == "key"
    cluster.run(cluster.client.delete(api.ConfigMap, "going", NAMESPACE))
    cluster.secret("coming", secret="there")
    cluster.config_map("coming", file="new")
    cluster.until(lambda: pod.exec("ls /v") == "secret", "one source goes and the other comes")
    cluster.until(lambda: pod.exec("cat /late/file 2>/dev/null || true") == "new", "the ConfigMap comes")


@pytest.mark.conformance("ConfigMap should be immutable if `immutable` field is set")
@pytest.mark.conformance("Secrets should be immutable if `immutable` field is set")
@pytest.mark.parametrize("kind", [api.ConfigMap, api.Secret])
def test_what_is_immutable_stays(cluster: Cluster, kind: Any) -> None:
    name = f"fixed-{kind is api.Secret}".lower()
    key = "stringData" if kind is api.Secret else "data"
    cluster.make(kind, {"metadata": {"name": name}, key: {"a": "1"}, "immutable": True})
    for change in ({key: {"a": "2"}}, {"immutable": False}):
        with pytest.raises(ApiError, match="immutable"):
            cluster.patch(kind, name, change)
    cluster.run(cluster.client.delete(kind, name, NAMESPACE))


@pytest.mark.conformance("Subpath Atomic writer volumes should support subpaths with configmap pod")
@pytest.mark.conformance(
    "Subpath Atomic writer volumes should support subpaths with configmap pod with mountPath of existing file"
)
@pytest.mark.conformance("Subpath Atomic writer volumes should support subpaths with downward pod")
@pytest.mark.conformance("Subpath Atomic writer volumes should support subpaths with projected pod")
@pytest.mark.conformance("Subpath Atomic writer volumes should support subpaths with secret pod")
@pytest.mark.parametrize("source", ["configMap", "secret", "downwardAPI", "projected"])
def test_a_sub_path_of_files_that_the_node_writes(cluster: Cluster, source: str) -> None:
    label = {"items": [{"path": "dir/file", "fieldRef": {"fieldPath": "metadata.labels['told']"}}]}
    given: dict[str, Any] = {
        "configMap": {"name": "parts", "items": [{"key": "key", "path": "dir/file"}]},
        "secret": {"secretName": "parts", "items": [{"key": "key", "path": "dir/file"}]},
        "downwardAPI": label,
        "projected": {"sources": [{"downwardAPI": label}]},
    }[source]
    if not cluster.has(api.ConfigMap, "parts"):
        cluster.config_map("parts", key="value")
        cluster.secret("parts", key="value")
    mounts = [
        mount("v", "/one", subPath="dir/file"),
        mount("v", "/all", subPath="dir"),
        mount("v", "/etc/group", subPath="dir/file"),
    ]
    said = cluster.output(
        "cat /one; echo; cat /all/file; echo; cat /etc/group",
        labels={"told": "value"},
        container={"volumeMounts": mounts},
        volumes=[{"name": "v", source: given}],
    )
    assert said.split() == ["value"] * 3


@pytest.mark.conformance("EmptyDir wrapper volumes should not cause race condition when used for configmaps")
def test_many_pods_with_many_volumes_do_not_get_in_each_others_way(cluster: Cluster) -> None:
    names = [f"race-{number}" for number in range(20)]
    for name in names:
        cluster.config_map(name, key=name)
    volumes = [{"name": name, "configMap": {"name": name}} for name in names]
    container = {"volumeMounts": [mount(name, f"/v/{name}") for name in names]}
    pods = [cluster.pod("cat /v/*/key", container=container, volumes=volumes) for _ in range(5)]
    for pod in pods:
        assert pod.over().status.phase == "Succeeded"
        assert sorted(pod.log().replace("race", " race").split()) == sorted(names)


@pytest.mark.conformance("EmptyDir wrapper volumes should not conflict")
def test_volumes_of_one_kind_lie_beside_each_other(cluster: Cluster) -> None:
    cluster.config_map("beside", key="map")
    cluster.secret("beside", key="secret")
    said = cluster.output(
        "cat /etc/both/map/key /etc/both/secret/key; echo x > /etc/both/file; cat /etc/both/file",
        container={
            "image": BUSYBOX,
            "volumeMounts": [
                mount("map", "/etc/both/map"),
                mount("dir", "/etc/both"),
                mount("secret", "/etc/both/secret"),
            ],
        },
        volumes=[
            {"name": "dir", "emptyDir": {}},
            {"name": "map", "configMap": {"name": "beside"}},
            {"name": "secret", "secret": {"secretName": "beside"}},
        ],
    )
    assert said == "mapsecretx"
