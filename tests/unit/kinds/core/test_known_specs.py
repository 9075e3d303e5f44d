from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.core import known_specs
from sampan.kinds.core.pod_defaults import default_pod
from sampan.kinds.core.pod_validation import validate_pod, validate_pod_template
from sampan.kinds.core.pod_warnings import template_warnings
from sampan.kinds.groups.apps.deployment import default as default_deployment
from sampan.kinds.groups.apps.deployment import validate as validate_deployment
from sampan.machinery.field import Path
from sampan.machinery.quantity import quantity
from sampan.schema import api, codec


def pod(*volumes: str, node: str | None = None, image: str = "web:1", name: str = "p") -> api.Pod:
    mounts = [api.VolumeMount(name=v, mountPath=f"/{n}") for n, v in enumerate(volumes)]
    made = api.Pod(
        metadata=api.ObjectMeta(name=name, namespace="default"),
        spec=api.PodSpec(
            containers=[api.Container(name="c", image=image, volumeMounts=mounts)],
            volumes=[api.Volume(name=v, emptyDir=api.EmptyDirVolumeSource()) for v in volumes],
            nodeName=node,
        ),
    )
    default_pod(made)
    return made


def errors(made: api.Pod) -> list[str]:
    return [str(error) for error in validate_pod(made)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (pod("kube-api-access-abcde"), pod("kube-api-access-fghij"), True),
        (pod(node="a"), pod(node="b"), True),
        (pod(name="a"), pod(name="b"), True),
        (pod(image="web:1"), pod(image="web:2"), True),
        (pod(image="web:1"), pod(image=" web:1"), False),
        (pod(image="web:1"), pod(image=""), False),
        # Another pull policy.
        (pod(image="web:1"), pod(image="web:latest"), False),
        (pod("kube-api-access-abcde"), pod("kube-api-access-ABCDE"), False),
        (pod("kube-api-access-abcde", "kube-api-access-fghij"), pod(*["kube-api-access-abcde"] * 2), False),
    ],
)
def test_shapes(one: api.Pod, other: api.Pod, same: bool) -> None:
    assert (known_specs.shape(one.spec) == known_specs.shape(other.spec)) is same


def test_what_depends_on_the_pod_has_no_shape() -> None:
    made = pod("data")
    template = api.PersistentVolumeClaimTemplate(spec=api.PersistentVolumeClaimSpec())
    made.spec.volumes[0] = api.Volume(
        name="data", ephemeral=api.EphemeralVolumeSource(volumeClaimTemplate=template)
    )
    assert known_specs.shape(made.spec) is None


@pytest.mark.parametrize(
    ("good", "bad", "wrong"),
    [
        (pod(node="node-1"), pod(node="Node_1"), "spec.nodeName"),
        (pod(image="web:1"), pod(image=""), "image: Required value"),
        (pod(image="web:1"), pod(image="web:1 "), "must not have leading or trailing whitespace"),
        (pod("kube-api-access-abcde"), pod(*["kube-api-access-abcde"] * 2), "Duplicate value"),
        (
            pod("kube-api-access-abcde", "kube-api-access-fghij"),
            pod(*["kube-api-access-abcde"] * 2),
            "Duplicate value",
        ),
        (
            pod("kube-api-access-abcde", "kube-api-access-00000"),
            pod(*["kube-api-access-abcde"] * 2),
            "Duplicate value",
        ),
    ],
)
def test_a_valid_spec_vouches_for_no_invalid_one(good: api.Pod, bad: api.Pod, wrong: str) -> None:
    for _ in range(2):
        assert errors(good) == []
        assert any(wrong in error for error in errors(bad))


def test_what_is_wrong_beside_the_spec_is_found_although_the_spec_is_known() -> None:
    gated: Any = pod(image="gated:1")
    gated.spec.schedulingGates = [api.PodSchedulingGate(name="wait")]
    assert errors(gated) == []
    gated.spec.nodeName = "node-1"
    assert errors(gated) == [
        "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"
    ]
    costly = pod()
    assert errors(costly) == []
    costly.metadata.annotations = {"controller.kubernetes.io/pod-deletion-cost": "much"}
    assert len(errors(costly)) == 1


def template(image: str, node: str | None = None, mount: str = "/0") -> api.PodTemplateSpec:
    made = pod("data", node=node, image=image)
    made.spec.containers[0].volumeMounts[0].mountPath = mount
    return api.PodTemplateSpec(metadata=api.ObjectMeta(labels={"app": "web"}), spec=made.spec)


@pytest.mark.parametrize(
    ("bad", "wrong"),
    [
        (template(""), ["template.spec.containers[0].image: Required value"]),
        (template("web:1", node="Node_1"), ["template.spec.nodeName: Invalid value"]),
        (
            template("web:1", mount=""),
            ["template.spec.containers[0].volumeMounts[0].mountPath: Required value"],
        ),
    ],
)
def test_a_valid_template_vouches_for_the_next_image_and_for_nothing_invalid(
    bad: api.PodTemplateSpec, wrong: list[str]
) -> None:
    path = Path("template")
    for image in ("web:1", "web:2", " web"):  # the last is none for a pod
        assert validate_pod_template(template(image), path) == []
    found = [str(error) for error in validate_pod_template(bad, path)]
    assert [error[: len(start)] for error, start in zip(found, wrong, strict=True)] == wrong


def deployment(**changes: Any) -> api.Deployment:
    made = api.Deployment(metadata=api.ObjectMeta(name="web", namespace="default"))
    made.spec = api.DeploymentSpec(
        selector=api.LabelSelector(matchLabels={"app": "web"}), template=template("web:1"), replicas=3
    )
    for path, value in changes.items():
        *steps, name = path.split("__")
        at: Any = made
        for step in steps:
            at = at[int(step)] if step.isdigit() else getattr(at, step)
        setattr(at, name, value)
    default_deployment(made)
    return made


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"spec__template__spec__containers__0__image": "web:2"}, []),
        ({"spec__replicas": 4}, []),
        ({"spec__replicas": -1}, ["spec.replicas"]),
        ({"spec__template__spec__containers__0__image": ""}, ["spec.template.spec.containers[0].image"]),
        ({"spec__template__spec__nodeName": "Node_1"}, ["spec.template.spec.nodeName"]),
        ({"spec__template__spec__restartPolicy": "Never"}, ["spec.template.spec.restartPolicy"]),
        ({"spec__template__metadata__labels": {"app": "other"}}, ["spec.template.metadata.labels"]),
        ({"spec__template__metadata__annotations": {"-": ""}}, ["spec.template.annotations"]),
        ({"spec__minReadySeconds": -1}, ["spec.minReadySeconds"]),
        ({"spec__progressDeadlineSeconds": 0}, ["spec.progressDeadlineSeconds"]),
        ({"spec__replicas": -1, "spec__minReadySeconds": -1}, ["spec.replicas", "spec.minReadySeconds"]),
    ],
)
def test_a_valid_deployment_vouches_for_the_next_image_and_for_nothing_invalid(
    changes: dict[str, Any], wrong: list[str]
) -> None:
    for _ in range(2):
        assert validate_deployment(deployment()) == []
        changed = deployment(**changes)
        before = codec.encode(changed)
        assert [error.field for error in validate_deployment(changed)] == wrong
        assert codec.encode(changed) == before


def test_images_and_nodes_are_left_as_they_were() -> None:
    made = template("web:1", node="node-1")
    made.spec.initContainers = [api.Container(name="init", image="init:1")]
    known_specs.shape(made.spec)
    assert made.spec.nodeName == "node-1"
    assert [made.spec.containers[0].image, made.spec.initContainers[0].image] == ["web:1", "init:1"]


def test_warnings_of_templates_are_told_each_time() -> None:
    quiet, loud = template("web:1"), template("web:1")
    loud.spec.containers[0].resources.limits = {"memory": quantity("0.5")}
    for _ in range(2):
        assert template_warnings(quiet, "spec.template", None) == []
        (warning,) = template_warnings(loud, "spec.template", None)
        assert warning.startswith("spec.template.spec.containers[0].resources.limits[memory]: fractional")
        (warning,) = template_warnings(loud, "spec.jobTemplate", None)
        assert warning.startswith("spec.jobTemplate.spec.containers[0]")
    quiet.metadata.annotations = {"scheduler.alpha.kubernetes.io/critical-pod": ""}
    assert len(template_warnings(quiet, "spec.template", None)) == 1


def test_warnings_name_the_volume_of_each_template() -> None:
    for name in ("kube-api-access-abcde", "kube-api-access-fghij"):
        made = template("web:1")
        made.spec.volumes = [api.Volume(name=name, projected=api.ProjectedVolumeSource())]
        assert template_warnings(made, "spec.template", None) == [
            f'volume "{name}" (Projected) has no sources provided'
        ]


def test_the_first_is_forgotten_where_there_are_too_many() -> None:
    known = known_specs.KnownSpecs(most=2)
    for shape in (b"a", b"b", b"c"):
        known.add(shape)
    assert [shape in known for shape in (b"a", b"b", b"c")] == [False, True, True]
    known.add(None)
    assert None not in known
