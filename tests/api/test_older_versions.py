"""Servers of an older Kubernetes: what is newer than they are is not there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sampan.apiserver.core.users import ADMIN
from sampan.schema.definitions import SERVED, load
from sampan.schema.newer import newer_fields
from tests.api.server import DEPLOYMENTS, MERGE, PODS, Api, deployment, pod, run, user

HOSTNAME: dict[str, Any] = {"hostnameOverride": "other"}


def _of(version: str, work: Any) -> None:
    asyncio.run(run(work, version=version))


@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_newer_fields_are_unknown(version: str) -> None:
    known = version == "1.37"

    async def work(api: Api) -> None:
        await api.account()
        body = pod("a", **HOSTNAME)
        body["spec"]["containers"][0]["lifecycle"] = {"stopSignal": "SIGUSR1"}
        body["spec"]["os"] = {"name": "linux"}
        refused = await api.post(PODS, body, fieldValidation="Strict", dryRun="All")
        if known:
            refused.ok(201)
        else:
            said = refused.refused(400, "BadRequest")
            assert 'strict decoding error: unknown field "spec.hostnameOverride"' in said
            assert "stopSignal" not in said  # 1.33 has it
        made = await api.post(PODS, body)
        spec = made.ok(201)["spec"]
        assert spec.get("hostnameOverride") == ("other" if known else None)
        assert "lifecycle" not in spec["containers"][0]  # alpha: known, and dropped
        warned = '299 - "unknown field \\"spec.hostnameOverride\\""'
        assert made.headers.get("Warning") == (None if known else warned)
        ignored = await api.post(PODS, pod("b", **HOSTNAME), fieldValidation="Ignore")
        assert ("hostnameOverride" in ignored.ok(201)["spec"]) is known
        assert "Warning" not in ignored.headers

    _of(version, work)


def test_newer_fields_cannot_be_applied() -> None:
    async def work(api: Api) -> None:
        body = deployment()
        body["spec"]["template"]["spec"] |= HOSTNAME
        body["spec"]["colour"] = "red"
        for force in ("true", "false"):
            said = await api.apply(f"{DEPLOYMENTS}/web", body, "me", force=force)
            first, *rest = said.refused(400, "BadRequest").splitlines()
            assert first == "failed to create typed patch object (/web; apps/v1, Kind=Deployment): errors:"
            assert sorted(rest) == [
                "  .spec.colour: field not declared in schema",
                "  .spec.template.spec.hostnameOverride: field not declared in schema",
            ]
        (await api.get(f"{DEPLOYMENTS}/web")).refused(404, "NotFound")
        (await api.apply(f"{DEPLOYMENTS}/web", deployment(), "me")).ok(201)

    _of("1.32", work)


def test_newer_fields_in_patches() -> None:
    body = {"spec": {"template": {"spec": HOSTNAME}}}

    async def work(api: Api) -> None:
        (await api.post(DEPLOYMENTS, deployment())).ok(201)
        answer = await api.patch(f"{DEPLOYMENTS}/web", body, MERGE)
        assert "hostnameOverride" not in answer.ok()["spec"]["template"]["spec"]
        assert "spec.template.spec.hostnameOverride" in answer.headers["Warning"]

    _of("1.32", work)


def test_parts_of_the_cluster_speak_the_newest_version() -> None:
    async def work(api: Api) -> None:
        (await api.post(DEPLOYMENTS, deployment())).ok(201)
        status = {"status": {"terminatingReplicas": 1}}
        changed = await api.patch(f"{DEPLOYMENTS}/web/status", status)
        assert changed.ok()["status"]["terminatingReplicas"] == 1
        given = deployment("other")
        given["spec"]["template"]["spec"]["hostnameOverride"] = "x"
        manager = user("system:kube-controller-manager", "system:masters")
        for asker, kept in ((ADMIN, None), (manager, "x")):
            made = await api.post(DEPLOYMENTS, given, user=asker, dryRun="All")
            assert made.ok(201)["spec"]["template"]["spec"].get("hostnameOverride") == kept

    _of("1.30", work)


@pytest.mark.parametrize("version", SERVED)
def test_every_kind_can_be_compared(version: str) -> None:
    newest, served = load(), load(version)
    found = {gvk.kind for gvk, full in newest.by_gvk.items() if newer_fields(full, newest, served)}
    assert ("Pod" in found) is (version != "1.37")
    assert "ConfigMap" not in found


@pytest.mark.parametrize(
    ("version", "path", "code"),
    [
        ("1.30", "/apis/networking.k8s.io/v1/servicecidrs", 404),
        ("1.33", "/apis/networking.k8s.io/v1/servicecidrs", 200),
        ("1.30", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", 200),
        ("1.33", "/apis/resource.k8s.io/v1/deviceclasses", 404),
        ("1.34", "/apis/resource.k8s.io/v1/deviceclasses", 200),
    ],
)
def test_kinds_follow_the_version(version: str, path: str, code: int) -> None:
    async def work(api: Api) -> None:
        assert (await api.get(path)).code == code
        group_version, _, plural = path.rpartition("/")
        served = await api.get(group_version)
        assert (served.code == 200 and plural in [r["name"] for r in served.json["resources"]]) is (
            code == 200
        )

    _of(version, work)
