"""PersistentVolume and PersistentVolumeClaim."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.core import persistentvolumeclaim as claims
from tests.unit.kinds.core.objects import ago, cells, data, errors, made, update_errors

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
VOLUME = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}
MODES = '"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'


def claim(spec: dict[str, Any] | None = None, **others: Any) -> Any:
    return made(
        "PersistentVolumeClaim", {"metadata": {"name": "c"}, "spec": {**CLAIM, **(spec or {})}, **others}
    )


def volume(spec: dict[str, Any] | None = None, **others: Any) -> Any:
    return made("PersistentVolume", {"metadata": {"name": "v"}, "spec": {**VOLUME, **(spec or {})}, **others})


def test_defaults() -> None:
    assert data(claim())["spec"]["volumeMode"] == "Filesystem"
    assert data(claim())["status"] == {"phase": "Pending"}
    filled = data(volume())
    assert filled["status"] == {"phase": "Pending"}
    assert filled["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert filled["spec"]["volumeMode"] == "Filesystem"
    assert filled["spec"]["hostPath"] == {"path": "/x", "type": ""}


@pytest.mark.parametrize("given", ["dataSource", "dataSourceRef"])
def test_both_data_sources_say_the_same(given: str) -> None:
    source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}
    fresh = claim({given: source})
    claims.prepare_create(fresh)
    assert data(fresh.spec)["dataSource"] == data(fresh.spec)["dataSourceRef"] == source
    assert errors("PersistentVolumeClaim", fresh) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"accessModes": []}, ["spec.accessModes: Required value: at least 1 access mode is required"]),
        (
            {"accessModes": ["Sometimes"]},
            [f'spec.accessModes: Unsupported value: "Sometimes": supported values: {MODES}'],
        ),
        (
            {"accessModes": ["ReadWriteOncePod", "ReadOnlyMany"]},
            ["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
        ),
        ({"resources": {}}, ["spec.resources[storage]: Required value"]),
        (
            {"resources": {"requests": {"storage": "0"}}},
            ['spec.resources[storage]: Invalid value: "0": must be greater than zero'],
        ),
        (
            {"volumeMode": "Tape"},
            ['spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"'],
        ),
        (
            {"dataSource": {"kind": "VolumeSnapshot", "name": "s"}},
            [
                'spec.dataSource: Invalid value: "VolumeSnapshot": '
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
            ],
        ),
        ({"storageClassName": ""}, []),
    ],
)
def test_claims(spec: dict[str, Any], expected: list[str]) -> None:
    assert errors("PersistentVolumeClaim", claim(spec)) == expected


IMMUTABLE = (
    "spec: Forbidden: spec is immutable after creation except resources.requests and "
    "volumeAttributesClassName for bound claims\n"
)


def size(amount: str) -> dict[str, Any]:
    return {"resources": {"requests": {"storage": amount}}}


BOUND = {"phase": "Bound", "capacity": {"storage": "1Gi"}}


@pytest.mark.parametrize(
    ("old", "new", "status", "expected"),
    [
        ({}, {}, {}, []),
        ({}, {"volumeName": "v"}, {}, []),
        ({}, {"storageClassName": "fast"}, {}, []),
        (
            {"volumeName": "v"},
            {"volumeName": "w"},
            {},
            [f'{IMMUTABLE}- volumeName: "v"\n+ volumeName: "w"'],
        ),
        (
            {"storageClassName": "fast"},
            {"storageClassName": "slow"},
            {},
            [f'{IMMUTABLE}- storageClassName: "fast"\n+ storageClassName: "slow"'],
        ),
        ({}, size("2Gi"), BOUND, []),
        (
            {},
            size("2Gi"),
            {},
            [f'{IMMUTABLE}- resources.requests.storage: "1Gi"\n+ resources.requests.storage: "2Gi"'],
        ),
        (
            size("2Gi"),
            size("1Gi"),
            BOUND,
            ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
        ),
        # An expansion that failed may be taken back as far as what is there.
        (size("3Gi"), size("2Gi"), BOUND, []),
    ],
)
def test_updates_of_claims(
    old: dict[str, Any], new: dict[str, Any], status: dict[str, Any], expected: list[str]
) -> None:
    found = update_errors("PersistentVolumeClaim", claim(new, status=status), claim(old, status=status))
    assert found == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"accessModes": []}, ["spec.accessModes: Required value"]),
        (
            {"capacity": {}},
            [
                "spec.capacity: Required value",
                'spec.capacity: Unsupported value: null: supported values: "storage"',
            ],
        ),
        (
            {"capacity": {"storage": "0"}},
            ['spec.capacity[storage]: Invalid value: "0": must be greater than zero'],
        ),
        ({"hostPath": None}, ["spec: Required value: must specify a volume type"]),
        (
            {"nfs": {"server": "s", "path": "/"}},
            ["spec.nfs: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            {"hostPath": None, "local": {"path": "/x"}},
            ["spec.nodeAffinity: Required value: Local volume requires node affinity"],
        ),
        (
            {"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"},
            [
                "spec.persistentVolumeReclaimPolicy: Forbidden: "
                "may not be 'recycle' for a hostPath mount of '/'"
            ],
        ),
        (
            {"persistentVolumeReclaimPolicy": "Burn"},
            [
                'spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": '
                'supported values: "Delete", "Recycle", "Retain"'
            ],
        ),
        (
            {"hostPath": None, "csi": {"driver": "d.example.com", "volumeHandle": ""}},
            ["spec.csi.volumeHandle: Required value"],
        ),
        (
            {"nodeAffinity": {}},
            ["spec.nodeAffinity.required: Required value: must specify required node constraints"],
        ),
    ],
)
def test_volumes(spec: dict[str, Any], expected: list[str]) -> None:
    assert errors("PersistentVolume", volume(spec)) == expected


def affinity(key: str) -> dict[str, Any]:
    terms = [{"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}]
    return {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"capacity": {"storage": "2Gi"}}, []),
        ({}, affinity("kubernetes.io/hostname"), []),
        (affinity("failure-domain.beta.kubernetes.io/zone"), affinity("topology.kubernetes.io/zone"), []),
        (
            {},
            {"hostPath": {"path": "/y"}},
            [
                "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after "
                'creation\n- hostPath.path: "/x"\n+ hostPath.path: "/y"'
            ],
        ),
        ({}, {"volumeMode": "Block"}, ['volumeMode: Invalid value: "Block": field is immutable']),
    ],
)
def test_updates_of_volumes(old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    assert update_errors("PersistentVolume", volume(new), volume(old)) == expected


def test_the_affinity_of_a_volume_stays() -> None:
    found = update_errors("PersistentVolume", volume(affinity("b")), volume(affinity("a")))
    assert len(found) == 1
    assert found[0].startswith("nodeAffinity: Invalid value: {")
    assert found[0].endswith("field is immutable, except for updating from beta label to GA")


def test_columns_of_claims() -> None:
    assert cells("PersistentVolumeClaim", claim()) == {
        "Name": "c",
        "Status": "Pending",
        "Volume": "",
        "Capacity": "",
        "Access Modes": "",
        "StorageClass": "",
        "VolumeAttributesClass": "<unset>",
        "Age": "<unknown>",
        "VolumeMode": "Filesystem",
    }
    bound = claim(
        {"volumeName": "v", "storageClassName": "fast"},
        status={**BOUND, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]},
    )
    shown = cells("PersistentVolumeClaim", bound)
    assert (shown["Status"], shown["Volume"], shown["Capacity"]) == ("Bound", "v", "1Gi")
    assert (shown["Access Modes"], shown["StorageClass"]) == ("RWO,RWX", "fast")


def test_columns_of_volumes() -> None:
    bound = volume(
        {"claimRef": {"namespace": "n", "name": "c"}, "storageClassName": "fast"},
        metadata={"name": "v", "creationTimestamp": ago(hours=5)},
        status={"phase": "Bound"},
    )
    assert cells("PersistentVolume", bound) == {
        "Name": "v",
        "Capacity": "1Gi",
        "Access Modes": "RWO",
        "Reclaim Policy": "Retain",
        "Status": "Bound",
        "Claim": "n/c",
        "StorageClass": "fast",
        "VolumeAttributesClass": "<unset>",
        "Reason": "",
        "Age": "5h",
        "VolumeMode": "Filesystem",
    }


@pytest.mark.parametrize("make", [claim, volume])
def test_what_is_being_deleted_says_so(make: Any) -> None:
    obj = make(metadata={"name": "x", "deletionTimestamp": ago(seconds=1)})
    kind = "PersistentVolumeClaim" if make is claim else "PersistentVolume"
    assert cells(kind, obj)["Status"] == "Terminating"
