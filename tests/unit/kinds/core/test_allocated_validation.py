"""What may be said of containers' devices in a pod's status, as kube-apiserver 1.37 answers."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.core.pod_update import validate_pod_status_update
from tests.unit.kinds.core.objects import container, pod

SPEC = {
    "containers": [
        container(
            name="app",
            resources={
                "requests": {"example.com/cam": "2"},
                "limits": {"example.com/cam": "2"},
                "claims": [{"name": "gpu", "request": "one"}, {"name": "whole"}],
            },
        )
    ],
    "initContainers": [container(name="before")],
    "resourceClaims": [
        {"name": "gpu", "resourceClaimName": "g"},
        {"name": "whole", "resourceClaimName": "w"},
    ],
}
EXTENDED = {
    "resourceClaimName": "web-extended",
    "requestMappings": [
        {"containerName": "app", "resourceName": "example.com/cam", "requestName": "container-0-request-0"}
    ],
}
NO_CLAIM = (
    "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when "
    "container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty"
)
HERE = "status.containerStatuses[0].allocatedResourcesStatus[0]"
ONE = HERE + ".resources"


def found(
    allocated: list[dict[str, Any]], *, name: str = "app", kind: str = "containerStatuses"
) -> list[str]:
    shown = {"name": name, "image": "", "imageID": "", "ready": False, "restartCount": 0}
    status = {
        kind: [{**shown, "allocatedResourcesStatus": allocated}],
        "extendedResourceClaimStatus": EXTENDED,
    }
    return [str(error) for error in validate_pod_status_update(pod(SPEC, status=status), pod(SPEC))]


@pytest.mark.parametrize(
    ("name", "errors"),
    [
        ("example.com/cam", []),
        ("claim:gpu/one", []),
        ("claim:whole", []),
        ("claim:web-extended/container-0-request-0", []),
        ("cpu", [f'{HERE}.name: Invalid value: "cpu": must match one of the container\'s resource requests']),
        ("claim:gpu", [f'{HERE}.name: Invalid value: "claim:gpu": {NO_CLAIM}']),
        ("claim:whole/one", [f'{HERE}.name: Invalid value: "claim:whole/one": {NO_CLAIM}']),
        ("claim:web-extended", [f'{HERE}.name: Invalid value: "claim:web-extended": {NO_CLAIM}']),
        (
            "claim:web-extended/container-0-request-1",
            [f'{HERE}.name: Invalid value: "claim:web-extended/container-0-request-1": {NO_CLAIM}'],
        ),
    ],
)
def test_a_resource_is_one_that_the_container_asks_for(name: str, errors: list[str]) -> None:
    assert found([{"name": name, "resources": []}]) == errors


@pytest.mark.parametrize(
    ("devices", "errors"),
    [
        ([{"resourceID": "a", "health": "Healthy"}, {"resourceID": "b", "health": "Unknown"}], []),
        ([{"resourceID": "a", "health": "Unhealthy", "message": "x" * 1024}], []),
        (
            [{"resourceID": "a", "health": "Ill"}],
            [
                f'{ONE}[0].health: Unsupported value: "Ill": supported values: "Healthy", "Unhealthy", '
                '"Unknown"'
            ],
        ),
        (
            [{"resourceID": "a", "health": "Healthy"}, {"resourceID": "a", "health": "Healthy"}],
            [f'{ONE}[1].resourceID: Duplicate value: "a"'],
        ),
        (
            [{"resourceID": "a", "health": "Healthy", "message": ""}],
            [f"{ONE}[0].message: Required value: must be non-empty if specified"],
        ),
        (
            [{"resourceID": "a", "health": "Healthy", "message": "\u00e9" * 513}],
            [f"{ONE}[0].message: Too long: may not be more than 1024 bytes"],
        ),
    ],
)
def test_each_device_is_told_of_once_in_a_known_state(devices: list[Any], errors: list[str]) -> None:
    assert found([{"name": "claim:whole", "resources": devices}]) == errors


def test_only_containers_that_have_resources_have_devices() -> None:
    allocated = [{"name": "example.com/cam", "resources": []}]
    assert found(allocated, name="somebody") == []
    assert found(allocated, name="before", kind="initContainerStatuses") == [
        'status.initContainerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: "example.com/cam": '
        "must match one of the container's resource requests"
    ]
    assert found(allocated, kind="ephemeralContainerStatuses") == [
        "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in "
        "container status"
    ]
