from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sampan.apiserver.core.admission.podsecurity import policy
from sampan.apiserver.core.admission.podsecurity.policy import Standard, findings, parse, sentence
from sampan.kinds.core.pod_defaults import default_pod
from sampan.schema import api, codec
from tests.shared import SHARED

CORPUS = SHARED / "corpus" / "pod-security"
FILES = sorted(CORPUS.rglob("*.yaml"))
ENFORCE = "pod-security.kubernetes.io/enforce"


def _pod(spec: dict[str, Any], **annotations: str) -> Any:
    spec = {"containers": [{"name": "main", "image": "web"}], **spec}
    pod = codec.from_builtins(
        {"metadata": {"name": "web", "annotations": annotations}, "spec": spec}, api.Pod
    )
    default_pod(pod)
    return pod


@pytest.mark.skipif(not FILES, reason="the corpus beside the checkout is not there")
@pytest.mark.parametrize("path", FILES, ids=lambda path: "-".join(path.parts[-4:]))
def test_every_pod_of_the_corpus_is_judged_as_kubernetes_does(path: Path) -> None:
    level, version, verdict, _ = path.parts[-4:]
    pod = codec.from_builtins(yaml.safe_load(path.read_text()), api.Pod)
    default_pod(pod)
    found = findings(Standard(level, version), pod.metadata, pod.spec)
    assert bool(found) == (verdict == "fail"), found


RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _main(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": "web", **fields}]}


@pytest.mark.parametrize(
    ("standard", "spec", "said"),
    [
        (
            Standard("restricted"),
            {},
            'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container '
            '"main" must set '
            "securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "
            '"main" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod '
            "or container "
            '"main" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container '
            '"main" must set '
            'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
        ),
        (
            Standard("baseline", "v1.30"),
            {"hostNetwork": True, "hostPID": True, **_main(securityContext={"privileged": True})},
            'violates PodSecurity "baseline:v1.30": host namespaces (hostNetwork=true, '
            "hostPID=true), privileged "
            '(container "main" must not set securityContext.privileged=true)',
        ),
        (
            Standard("baseline"),
            {
                **_main(ports=[{"containerPort": 80, "hostPort": 80}, {"containerPort": 90, "hostPort": 90}]),
                "volumes": [
                    {"name": "a", "hostPath": {"path": "/"}},
                    {"name": "b", "hostPath": {"path": "/b"}},
                ],
            },
            'violates PodSecurity "baseline:latest": hostPath volumes (volumes "a", "b"), hostPort '
            '(container "main" '
            "uses hostPorts 80, 90)",
        ),
        (
            Standard("restricted"),
            {
                **_main(securityContext=RESTRICTED),
                "volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "c", "emptyDir": {}}],
            },
            'violates PodSecurity "restricted:latest": restricted volume types (volume "a" uses '
            "restricted volume "
            'type "hostPath")',
        ),
        (
            Standard("restricted"),
            {"securityContext": {"runAsNonRoot": False, "runAsUser": 0}, **_main(securityContext=RESTRICTED)},
            'violates PodSecurity "restricted:latest": runAsNonRoot != true (pod must not set '
            "securityContext.runAsNonRoot=false), runAsUser=0 (pod must not set runAsUser=0)",
        ),
        (
            Standard("baseline"),
            {
                "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]},
                **_main(
                    securityContext={
                        "seLinuxOptions": {"type": "spc_t", "user": "u"},
                        "procMount": "Unmasked",
                    }
                ),
            },
            'violates PodSecurity "baseline:latest": procMount (container "main" must not set '
            'securityContext.procMount to "Unmasked"), seLinuxOptions (container "main" set forbidden '
            'securityContext.seLinuxOptions: type "spc_t"; user may not be set), forbidden sysctls '
            "(kernel.msgmax)",
        ),
        (
            Standard("baseline"),
            _main(livenessProbe={"httpGet": {"port": 80, "host": "8.8.8.8"}}),
            'violates PodSecurity "baseline:latest": probe or lifecycle host (container "main" uses '
            "probe or lifecycle "
            'host "8.8.8.8")',
        ),
        (
            Standard("baseline"),
            _main(securityContext={"capabilities": {"add": ["NET_ADMIN", "CHOWN", "SYS_TIME"]}}),
            'violates PodSecurity "baseline:latest": non-default capabilities (container "main" must '
            "not include "
            '"NET_ADMIN", "SYS_TIME" in securityContext.capabilities.add)',
        ),
    ],
)
def test_the_words_are_those_that_kubernetes_users_know(standard: Standard, spec: Any, said: str) -> None:
    pod = _pod(spec)
    assert sentence(standard, findings(standard, pod.metadata, pod.spec)) == said


@pytest.mark.parametrize(
    ("standard", "spec", "allowed"),
    [
        (Standard("privileged"), _main(securityContext={"privileged": True}), True),
        (Standard("baseline", "v1.33"), _main(livenessProbe={"tcpSocket": {"port": 1, "host": "a"}}), True),
        (Standard("baseline", "v1.26"), {"securityContext": {"sysctls": [
            {"name": "net.ipv4.ip_local_reserved_ports", "value": "1"}]}}, False),
        (Standard("baseline", "v1.27"), {"securityContext": {"sysctls": [
            {"name": "net.ipv4.ip_local_reserved_ports", "value": "1"}]}}, True),
        (Standard("restricted", "v1.24"),
         {"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": True}},
         False),
        (Standard("restricted", "v1.25"),
         {"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": True}},
         True),
        (Standard("restricted", "v1.7"), {"securityContext": {"runAsNonRoot": True}}, True),
        (Standard("restricted", "v1.36"), {
            "hostUsers": False, **_main(securityContext={**RESTRICTED, "runAsNonRoot": False})}, True),
    ],
)  # fmt: skip
def test_the_version_says_which_checks_hold(standard: Standard, spec: Any, allowed: bool) -> None:
    pod = _pod(spec)
    assert (findings(standard, pod.metadata, pod.spec) == []) == allowed


@pytest.mark.parametrize(
    ("labels", "enforce", "warn", "wrong"),
    [
        ({}, "privileged:latest", "privileged:latest", []),
        ({"enforce": "baseline"}, "baseline:latest", "baseline:latest", []),
        ({"enforce": "restricted", "warn": "baseline"}, "restricted:latest", "baseline:latest", []),
        ({"enforce": "baseline", "enforce-version": "v1.30"}, "baseline:v1.30", "baseline:v1.30", []),
        ({"enforce": "paranoid"}, "restricted:latest", "restricted:latest", ["enforce"]),
        ({"warn": "paranoid"}, "privileged:latest", "privileged:latest", ["warn"]),
        (
            {"enforce": "baseline", "enforce-version": "1.30"},
            "baseline:latest",
            "baseline:latest",
            ["enforce-version"],
        ),
    ],
)
def test_labels_say_the_policy(labels: dict[str, str], enforce: str, warn: str, wrong: list[str]) -> None:
    found, errors = parse({policy.PREFIX + key: value for key, value in labels.items()})
    assert (str(found.enforce), str(found.warn)) == (enforce, warn)
    assert [error.label.removeprefix(policy.PREFIX) for error in errors] == wrong


def test_app_armor_annotations_count() -> None:
    pod = _pod({}, **{"container.apparmor.security.beta.kubernetes.io/main": "unconfined"})
    found = findings(Standard("baseline"), pod.metadata, pod.spec)
    assert [finding.reason for finding in found] == ["forbidden AppArmor profile"]
