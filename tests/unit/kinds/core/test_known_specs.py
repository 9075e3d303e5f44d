from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.core import known_specs
from sampan.kinds.core.pod_defaults import default_pod
from sampan.kinds.core.pod_validation import validate_pod
from sampan.schema import api


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
        (pod(image="web:1"), pod(image="web:2"), False),
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


def test_the_first_is_forgotten_where_there_are_too_many() -> None:
    known = known_specs.KnownSpecs(most=2)
    for shape in (b"a", b"b", b"c"):
        known.add(shape)
    assert [shape in known for shape in (b"a", b"b", b"c")] == [False, True, True]
    known.add(None)
    assert None not in known
