from __future__ import annotations

from typing import Any

import pytest

from .objects import cells, data, errors, made, update_errors


def storage_class(**fields: Any) -> dict[str, Any]:
    return {"provisioner": "disk.example.com", **fields}


def test_defaults() -> None:
    value = data(made("StorageClass", storage_class()))
    assert (value["reclaimPolicy"], value["volumeBindingMode"]) == ("Delete", "Immediate")
    assert data(made("CSIDriver", {}))["spec"] == {
        "attachRequired": True,
        "podInfoOnMount": False,
        "storageCapacity": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
        "requiresRepublish": False,
        "seLinuxMount": False,
        "preventPodSchedulingIfMissing": False,
        "volumeLifecycleModes": ["Persistent"],
    }


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("StorageClass", storage_class(), []),
        (
            "StorageClass",
            storage_class(provisioner="", reclaimPolicy="Recycle", volumeBindingMode="Later"),
            [
                "provisioner: Required value",
                'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"',
                'volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", '
                '"WaitForFirstConsumer"',
            ],
        ),
        (
            "VolumeAttributesClass",
            {"driverName": "disk.example.com"},
            ["parameters: Required value: must contain at least one key/value pair"],
        ),
        (
            "VolumeAttachment",
            {"spec": {"attacher": "disk.example.com", "nodeName": "n"}},
            [
                "spec.source: Required value: must specify exactly one of inlineVolumeSpec and "
                "persistentVolumeName"
            ],
        ),
        (
            "CSINode",
            {"spec": {"drivers": [{"name": "d.io", "nodeID": ""}, {"name": "d.io", "nodeID": "n"}]}},
            ["spec.drivers[0].nodeID: Required value", 'spec.drivers[1].name: Duplicate value: "d.io"'],
        ),
        (
            "CSIDriver",
            {"spec": {"volumeLifecycleModes": ["Sometimes"], "tokenRequests": [{"audience": "a"}] * 2}},
            [
                'spec.volumeLifecycleModes: Unsupported value: "Sometimes": supported values: "Persistent", '
                '"Ephemeral"',
                'spec.tokenRequests[1].audience: Duplicate value: "a"',
            ],
        ),
        (
            "CSIStorageCapacity",
            {"storageClassName": "fast", "capacity": "-1"},
            ['capacity: Invalid value: "-1": must be greater than or equal to 0'],
        ),
    ],
)
def test_validation(kind: str, value: dict[str, Any], expected: list[str]) -> None:
    assert errors(kind, value) == expected


@pytest.mark.parametrize(
    ("kind", "new", "old", "expected"),
    [
        (
            "StorageClass",
            storage_class(parameters={"a": "b"}, provisioner="x.io", reclaimPolicy="Retain"),
            storage_class(),
            [
                "parameters: Invalid value: null: field is immutable",
                "provisioner: Invalid value: null: field is immutable",
                "reclaimPolicy: Invalid value: null: field is immutable",
            ],
        ),
        ("StorageClass", storage_class(allowVolumeExpansion=True), storage_class(), []),
        (
            "StorageClass",
            storage_class(volumeBindingMode="WaitForFirstConsumer"),
            storage_class(),
            ["volumeBindingMode: Invalid value: null: field is immutable"],
        ),
        (
            "CSIDriver",
            {"spec": {"attachRequired": False, "podInfoOnMount": True}},
            {},
            ["spec.attachedRequired: Invalid value: false: field is immutable"],
        ),
        (
            "VolumeAttributesClass",
            {"parameters": {"a": "c"}},
            {"parameters": {"a": "b"}},
            ["parameters: Forbidden: updates to parameters are forbidden."],
        ),
    ],
)
def test_updates(kind: str, new: dict[str, Any], old: dict[str, Any], expected: list[str]) -> None:
    assert update_errors(kind, new, old) == expected


def test_cells() -> None:
    default = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    shown = cells("StorageClass", {**storage_class(allowVolumeExpansion=True), "metadata": default})
    assert list(shown.values()) == ["web (default)", "disk.example.com", "Delete", "Immediate", True, "60m"]
    assert cells("StorageClass", storage_class())["Name"] == "web"
    spec = {"tokenRequests": [{"audience": "a"}, {"audience": "b"}], "podInfoOnMount": True}
    assert list(cells("CSIDriver", {"spec": spec}).values()) == [
        "web", True, True, False, "a,b", False, "Persistent", "60m"
    ]  # fmt: skip
    assert cells("CSINode", {"spec": {"drivers": [{"name": "a", "nodeID": "b"}]}})["Drivers"] == 1
    source = {"attacher": "d.io", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}
    shown = cells("VolumeAttachment", {"spec": source, "status": {"attached": True}})
    assert list(shown.values()) == ["web", "d.io", "pv", "n", True, "60m"]
    shown = cells("CSIStorageCapacity", {"storageClassName": "fast", "capacity": "5Gi"})
    assert list(shown.values()) == ["web", "2030-01-02T11:00:00Z"]
